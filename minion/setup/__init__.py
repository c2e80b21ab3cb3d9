"""Setting up a minion and taking it away again: what is asked and tried, what is installed, what is removed."""
