"""`python -m dualform`."""

import sys

from dualform.cli import main

sys.exit(main())
