"""HQ's HTTP door: who may come in, and what is there."""
