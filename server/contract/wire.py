"""The numbers that HQ and minions both go by as they speak; a minion's daemon reads them without the documents."""

from __future__ import annotations

from typing import Final

# Of the messages between HQ and minions; each side understands the one before, too (DESIGN §4).
PROTOCOL: Final = 1
# Seconds that HQ keeps a poll waiting at most: less than what proxies and address translators forget.
LONGEST_WAIT_S: Final = 25.0
# So many reports are in one message at most.
MOST_REPORTS: Final = 50
