"""`python -m revgn`: the command line."""

import sys

from revgn_cli.start import main

if __name__ == "__main__":
    sys.exit(main())
