"""Decisions: what waits for a human. Who may answer, to what exactly, and until when.

Rules: DESIGN §2, §7 ("a session can never decide") and the threat model's T10: an answer is bound to the digest of
what was asked, is given once, and is refused when its time is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from server.contract.digest import digest_of
from server.contract.refusals import BadUse, Refused

Answer = Literal["approve", "reject", "changes"]
DecisionState = Literal["open", "approved", "rejected", "changes", "expired", "withdrawn"]
# How far the answer to a hold came: its order waits, was taken, was followed; or the minion refused it.
Carried = Literal["waiting", "taken", "carried_out", "refused_there"]
ANSWERS: Final[tuple[str, ...]] = get_args(Answer)
STATE_OF: Final[Mapping[str, DecisionState]] = {
    "approve": "approved", "reject": "rejected", "changes": "changes",
}  # fmt: skip
# The event that says so; the state is its word, but for this one.
EVENT_OF: Final[Mapping[str, str]] = {**STATE_OF, "changes": "changes_asked"}
# What it is about is done already: there is nobody who could propose it otherwise.
NOT_SENT_BACK: Final = frozenset({"hold"})
_WORDS: Final[Mapping[str, str]] = {"changes": "sent back"}
SCOPES: Final = frozenset({"admin", "reviewer"})
# Where a person is known to have come in: at a terminal of HQ's own machine, or signed in on a page.
PERSONAL_DOORS: Final = frozenset({"cli", "page"})


def digest_of_question(kind: str, subject: str, question: str, evidence: Mapping[str, Any]) -> str:
    """The digest of all that a human is shown; an answer is one to this and to nothing else."""
    return digest_of([kind, subject, question, dict(evidence)])


def may_decide(scope: str, door: str) -> None:
    """Raise `Refused` for who may not decide, whichever decision it is: no person, or not one of these scopes."""
    if door not in PERSONAL_DOORS:
        hint = "sign in on the decision's page, or give `hq decide`"
        raise Refused("not_a_person", "A decision is made by a person who signed in.", hint=hint)
    if scope not in SCOPES:
        hint = "give one of scope reviewer or admin"
        raise Refused("may_not_decide", f"A token of scope {scope} decides nothing.", hint=hint)


def in_words(state: str) -> str:
    """How a decision stands, as people say it."""
    return _WORDS.get(state, state)


def carried_in_words(carried: str | None, minion: str, why: str | None) -> str | None:
    """How far the answer to a hold came on its minion; None for what no minion has to carry out."""
    words = {
        "waiting": f"The answer waits for {minion} to ask for it.", "taken": f"{minion} has the answer.",
        "carried_out": f"{minion} has the answer and goes by it.",
        "refused_there": f"{minion} did not take the answer: {why or 'it did not say why.'}",
    }  # fmt: skip
    return words.get(carried or "")


def state_at(state: str, expires_at: str | None, now: str) -> str:
    """How a decision stands at an instant, also where nobody has written down yet that its time is over."""
    return "expired" if state == "open" and expires_at is not None and expires_at <= now else state


def answers_to(kind: str) -> tuple[str, ...]:
    """The answers that a decision of a kind takes."""
    return tuple(each for each in ANSWERS if each != "changes" or kind not in NOT_SENT_BACK)


def may_answer(
    decision: str, kind: str, state: str, *, answer: str, why: str | None, asked: str, shown: str, kept: str
) -> None:
    """Raise `BadUse` for no answer, `Refused` for a decision that takes none, or not this one.

    `asked` is the digest of the decision as it was asked, `shown` that of what the human saw, `kept` that of what
    is in the store now; all three are the same. Who sends a proposal back says `why`.
    """
    if answer not in ANSWERS:
        raise BadUse("bad_answer", f"{answer[:40]!r} is no answer.", hint="say approve, reject or changes")
    if state == "expired":
        hint = "what it was about may be proposed again"
        raise Refused("decision_expired", f"The time to decide {decision} is over.", hint=hint)
    if state != "open":
        hint = "hq decisions --state any shows it"
        raise Refused("decided", f"The decision {decision} is {in_words(state)} already.", hint=hint)
    if kept != asked:
        hint = "hq verify tells what was changed; have it proposed again"
        raise Refused("decision_altered", f"The decision {decision} is not as it was asked.", hint=hint)
    if shown != asked:
        hint = "look at it again, and answer with the digest that it shows"
        raise Refused("other_digest", f"What was shown is not what {decision} asks.", hint=hint)
    if answer not in answers_to(kind):
        says = f"A {kind} cannot be sent back: what it is about has changed already."
        raise Refused("cannot_send_back", says, hint="approve it, or reject it and have what changed changed back")
    if answer == "changes" and not (why or "").strip():
        hint = f"give your reason with the answer; at a terminal: hq decide {decision} changes -m TEXT"
        raise BadUse("no_reason", "Whoever sends something back says what should be otherwise.", hint=hint)
