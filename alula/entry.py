"""Where the command `alula` begins: all else is imported under the guard, so that Ctrl-C at a start ends in one line."""

import sys


def main() -> int:
    """Run the command of `sys.argv`; return the exit status."""
    try:
        from alula.cli import main as command

        return command()
    except KeyboardInterrupt:
        sys.stderr.write("alula: interrupted\n")
        return 130
