"""Shapes: other views of the same bytes, and computations on sizes."""
