"""Gradient rules: how the backward pass of each op is built from nodes; file names as in `ops/`.

A rule gets the tape, the node and the gradients of its outputs ("" where nothing flows), and returns a gradient for
each input, "" where there is none. Imported only when something is trained.
"""
