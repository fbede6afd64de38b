"""The same load against our engines and other people's servers, side by side: `python -m benchmarks.peers`."""
