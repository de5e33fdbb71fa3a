"""The commands of `alula`, one file each: `add_arguments(parser)` and `run(args) -> Report`."""
