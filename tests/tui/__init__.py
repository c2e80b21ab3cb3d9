"""The terminal view: its screens driven by keys, its real program in real terminals, its pictures."""
