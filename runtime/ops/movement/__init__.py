"""Ops that move elements: pads, slices, transposes, look-ups."""
