"""Tests of the bundled skills: their scripts run as real processes, on real repositories."""
