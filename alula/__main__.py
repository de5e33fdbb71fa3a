"""`python -m alula` is the command `alula`."""

import sys

from alula.entry import main

sys.exit(main())
