"""`python -m alula` is the command `alula`."""

import sys

from alula.cli import main

sys.exit(main())
