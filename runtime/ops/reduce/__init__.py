"""Reductions, softmax, ArgMax and ArgMin."""
