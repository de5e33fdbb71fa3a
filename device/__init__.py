"""The agent on the board, around the engine: images in, answers out, energy logged."""

if __name__ != "alula.device":
    raise ImportError(
        f"{__name__}: expected the import name alula.device, so that there is never a second copy; write 'import alula.device'"
    )
