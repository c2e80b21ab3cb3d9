"""Bench: figures, each beside its peers in the same run; nothing here fails for being slow."""
