"""The packager: ONNX in, a checked and compressed `.alula` file out."""

if __name__ != "alula.host":
    raise ImportError(
        f"{__name__}: expected the import name alula.host, so that there is never a second copy; write 'import alula.host'"
    )
