"""Draws batches of views."""
