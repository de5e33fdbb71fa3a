"""Tasks: what a board does with its networks. Text spotting so far; see `spotter.py`."""
