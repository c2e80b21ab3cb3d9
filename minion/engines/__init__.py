"""Engines: how an elastic block is executed."""
