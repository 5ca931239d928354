"""`python -m sparsespike` is the command line."""

import sys

from sparsespike.cli import main

if __name__ == "__main__":
    sys.exit(main())
