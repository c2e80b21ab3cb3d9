"""What makes a run due: a person at the keyboard, a slot, a call; each with the key that makes it happen once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class Trigger:
    """One reason to run: `key` is unique per order, `at` aware UTC, `input` untrusted text from outside.

    `run_id` is the run's, where whoever asks for it has named it already.
    """

    kind: Literal["manual", "schedule", "api", "github"]
    key: str
    at: datetime
    input: str | None = None
    run_id: str | None = None
