"""Hands HQ's work to minions: one port, `embedded` on HQ's own store."""
