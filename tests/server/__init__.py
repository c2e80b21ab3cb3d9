"""Tests of HQ: its store, its actions and its doors."""
