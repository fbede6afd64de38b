"""Renders views of shared worlds and encodes each of them once."""
