"""The demo: a flight over signs, read by three packed networks. `alula demo` runs it."""

if __name__ != "alula.demo":
    raise ImportError(
        f"{__name__}: expected the import name alula.demo, so that there is never a second copy; write 'import alula.demo'"
    )
