"""`python -m ossmount`: the same as the command `ossmount`."""

import sys

from ossmount.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
