"""Arithmetic, activations, comparisons, selection and casts, and the steps of epilogues."""
