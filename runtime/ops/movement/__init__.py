"""What moves elements: pads, slices, transposes, look-ups."""
