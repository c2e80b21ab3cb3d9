"""What is said of a run before it is made: what it would begin with, what would refuse it, what it may cost."""
