"""Turns planar frames into encoded pictures."""
