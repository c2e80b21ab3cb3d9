"""Skills on this machine: found, read under limits, installed, listed, begun."""
