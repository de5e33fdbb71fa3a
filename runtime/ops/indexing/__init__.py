"""Gathering and scattering by tensors of positions, and what chooses elements."""
