"""``python -m geoseg``: the command line."""

import sys

from geoseg.cli import main

if __name__ == "__main__":  # workers import this module too, and must not start a run
    sys.exit(main())
