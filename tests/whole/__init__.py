"""Whole runs: real homes, real runner processes, real stores, seen from outside."""
