"""The optimisers' steps."""
