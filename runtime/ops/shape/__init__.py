"""Shapes: other views of the same bytes, and what is computed from sizes."""
