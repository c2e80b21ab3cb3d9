"""What is said inside the terminal view."""

from __future__ import annotations

from textual.message import Message


class Changed(Message):
    """Something has changed in the home: in its store, or because its daemon came, went or said so."""


class Asked(Message):
    """A person asked for something to be done about what stands under the cursor."""

    def __init__(self, verb: str, subject: str) -> None:
        super().__init__()
        self.verb = verb
        self.subject = subject
