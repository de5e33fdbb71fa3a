"""Quantised convolutions, and what quantises and dequantises."""
