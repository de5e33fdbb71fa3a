"""Entry point of the command `alula`. Everything else is imported inside `try`, so that Ctrl-C at start-up prints one line."""

import sys


def main() -> int:
    """Run the command of `sys.argv`; return the exit status."""
    try:
        from alula.cli import main as command

        return command()
    except KeyboardInterrupt:
        if sys.stderr:
            sys.stderr.write("alula: interrupted\n")
        return 130
