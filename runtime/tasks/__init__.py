"""What networks are for: from their outputs to answers. One file for each task; needs NumPy alone."""
