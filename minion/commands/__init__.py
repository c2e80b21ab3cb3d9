"""The verbs of the `minion` command line, one file each, imported only when typed."""
