"""`python -m vptlib` is `vpt`."""

from vptlib.cli import main

if __name__ == "__main__":
    main()
