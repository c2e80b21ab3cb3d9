"""What is said inside the terminal view."""

from __future__ import annotations

from textual.message import Message


class Changed(Message):
    """Something has changed in the home: in its store, or because its daemon came, went or said so."""
