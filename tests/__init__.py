"""Sentences about behaviour, shown on real processes, files and repositories."""
