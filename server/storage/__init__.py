"""HQ's storage: the only SQL of the server."""
