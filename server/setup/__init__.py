"""Has the system start HQ by itself."""
