"""The run store of one minion: one writer, many read-only readers."""
