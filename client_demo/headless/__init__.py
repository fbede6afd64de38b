"""A viewer without a screen, for tests and load."""
