"""The runner: one trusted process per run, which walks the process and holds the safety envelope."""
