"""``python -m trainscape``."""

import sys

from trainscape.cli import main

sys.exit(main())
