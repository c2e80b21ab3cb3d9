"""The minion: a small daemon per agent, its runners, its sandbox, its store and its command line."""
