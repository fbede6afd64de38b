"""The command line, the configuration, and all roles on one machine."""
