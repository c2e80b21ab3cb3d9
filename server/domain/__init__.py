"""HQ's judgement: pure, without clock, disk or network."""
