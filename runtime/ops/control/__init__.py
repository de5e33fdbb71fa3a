"""Which part of a network runs."""
