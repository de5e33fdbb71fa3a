"""Arithmetic, activations, comparisons, selection, casts, and epilogues."""
