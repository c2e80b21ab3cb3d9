"""The shared vocabulary, room by room."""
