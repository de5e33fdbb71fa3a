"""Reductions, softmax, positions of extremes."""
