"""The benchmarks of `farstage bench`: each measures one promise on this machine, both sides in one run."""
