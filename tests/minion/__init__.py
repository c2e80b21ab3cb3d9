"""Tests of the minion: its rooms, its processes, its sandbox."""
