"""Every refusal the product can give: one code, one sentence, one hint, one exit status.

Doors (command line, MCP, HTTP) translate a `Refusal` once; nothing below a door prints or exits.
"""

from __future__ import annotations

from typing import ClassVar


class Refusal(Exception):
    """A request that is turned down with nothing lost and nothing half-written.

    `code` is a stable snake_case word for programs, `sentence` one sentence for people, `hint` what to do
    next. `exit_code` follows the command line's table: 1 failed, 2 bad use, 3 refused, 4 partial or unknown.
    """

    exit_code: ClassVar[int] = 3
    http_status: ClassVar[int] = 409

    def __init__(self, code: str, sentence: str, *, hint: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.hint = hint

    def as_data(self) -> dict[str, str]:
        """The refusal as the JSON object every door shows."""
        return {"code": self.code, "sentence": self.sentence, "hint": self.hint}

    def __str__(self) -> str:
        return f"{self.sentence} (hint: {self.hint})"


class BadDocument(Refusal):
    """A file or message that does not say what its kind must say; the field is named in the sentence."""

    exit_code = 2
    http_status = 400


class BadUse(Refusal):
    """A command or call put together wrongly."""

    exit_code = 2
    http_status = 400


class NotFound(Refusal):
    """A routine, run, skill or process that is not there."""

    exit_code = 2
    http_status = 404


class Refused(Refusal):
    """Well said, but not allowed here: a held lock, a missing engine, an unusable sandbox, a limit."""


class TrialFailed(Refusal):
    """What was tried for real did not work: a message that did not arrive, a command that failed."""

    exit_code = 1
    http_status = 502


class StoreUnreadable(Refusal):
    """A store that cannot be read; it is kept as it is and never replaced by an empty one."""

    http_status = 503


class StoreFailed(Refusal):
    """A store whose disk refused a write: nothing of it was kept, and nothing may be acknowledged."""

    exit_code = 1
    http_status = 503


class Defect(Refusal):
    """Something went wrong that never should: ours to mend. Nothing of what was asked for was kept."""

    exit_code = 1
    http_status = 500


class IllegalMove(Refusal):
    """A state change the table of legal moves does not have; a defect of the caller."""

    exit_code = 1
    http_status = 500


REFUSAL_KINDS: tuple[type[Refusal], ...] = (
    BadDocument, BadUse, NotFound, Refused, TrialFailed, StoreUnreadable, StoreFailed, Defect, IllegalMove,
)  # fmt: skip


def refusal_from_data(kind: str, data: dict[str, str]) -> Refusal:
    """Rebuild a refusal that a child process printed; an unknown kind becomes `Refused`."""
    for candidate in REFUSAL_KINDS:
        if candidate.__name__ == kind:
            return candidate(data["code"], data["sentence"], hint=data["hint"])
    return Refused(data["code"], data["sentence"], hint=data["hint"])
