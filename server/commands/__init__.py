"""The commands of `hq`, one module each, loaded when they are typed."""
