"""Routine files of a home: where they lie, ready ones, those made from a sentence, and taking them elsewhere."""
