"""Immutable content: loading it and generating it."""
