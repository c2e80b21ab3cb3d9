"""What HQ says to a minion: run, cancel, pause, resume or go on as a person decided, as a message of the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from .documents import WireMessage
from .plain_words import wrong
from .spelling import LONGEST_CONTENT, DecisionId, Moment, RunId, Slug


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise wrong("bad_key", "must be printable text", "send letters, digits and signs only")
    return text


Key = Annotated[str, Field(max_length=200), AfterValidator(_printable)]


class Order(WireMessage):
    """One order. `key` makes it idempotent: a minion carries out each key once, however often it is sent.

    `routine` is a name; `run` the run to open, or to stop (`cancel` needs it); `input` text from outside, never
    trusted, at most 65,536 characters; `issued_at` an instant of HQ's clock. A run that HQ's own schedule asks for
    carries the `slot` that it is for. `decide` carries the `decision` that waits there, the `digest` of what was
    decided upon, the `answer`, and whom it is `by`.
    """

    id: Key
    kind: Literal["run", "cancel", "pause", "resume", "decide"]
    routine: Slug
    key: Key
    input: Annotated[str, Field(max_length=LONGEST_CONTENT)] | None = None
    run: RunId | None = None
    slot: Moment | None = None
    decision: DecisionId | None = None
    digest: Annotated[str, Field(max_length=200)] | None = None
    answer: Literal["approve", "reject"] | None = None
    by: Annotated[str, Field(max_length=200)] | None = None
    issued_at: Moment

    @model_validator(mode="after")
    def _is_whole(self) -> Order:
        if self.kind == "cancel" and self.run is None:
            raise wrong("missing_field", "is missing", "say which run to cancel", at="run")
        if self.kind == "decide" and None in (self.decision, self.answer):
            raise wrong("missing_field", "is missing", "say what was decided, and how", at="decision")
        return self
