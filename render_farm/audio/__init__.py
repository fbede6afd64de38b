"""Mixes what people in a world hear."""
