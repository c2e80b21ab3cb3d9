"""The shared vocabulary of HQ and minions: pure, no clock, no disk, no network."""
