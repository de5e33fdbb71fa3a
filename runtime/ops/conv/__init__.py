"""Convolutions and transposed convolutions: direct, depthwise, Winograd, and their gradients."""
