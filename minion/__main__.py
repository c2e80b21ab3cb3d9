"""`python -m minion` is the `minion` command."""

from minion.cli import main

if __name__ == "__main__":
    main()
