"""The doctor: runs each thing a minion needs, and says of each what was seen and what one command mends it."""
