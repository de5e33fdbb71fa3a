"""The engine: inference and training of packed networks, the same code on a laptop and on the board."""

if __name__ != "alula.runtime":
    raise ImportError(
        f"{__name__}: expected the import name alula.runtime, so that there is never a second copy; write 'import alula.runtime'"
    )
