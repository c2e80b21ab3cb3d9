"""Decisions: what waits for a human. Who may answer, to what exactly, and until when.

Rules: DESIGN §2, §7 ("a session can never decide") and the threat model's T10: an answer is bound to the digest of
what was asked, is given once, and is refused when its time is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from server.contract.digest import digest_of
from server.contract.refusals import BadUse, Refused

Answer = Literal["approve", "reject"]
DecisionState = Literal["open", "approved", "rejected", "expired", "withdrawn"]
ANSWERS: Final[tuple[str, ...]] = get_args(Answer)
STATE_OF: Final[Mapping[str, DecisionState]] = {"approve": "approved", "reject": "rejected"}
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


def state_at(state: str, expires_at: str | None, now: str) -> str:
    """How a decision stands at an instant, also where nobody has written down yet that its time is over."""
    return "expired" if state == "open" and expires_at is not None and expires_at <= now else state


def may_answer(decision: str, state: str, *, answer: str, asked: str, shown: str, kept: str) -> None:
    """Raise `BadUse` for no answer, `Refused` for a decision that takes none.

    `asked` is the digest of the decision as it was asked, `shown` that of what the human saw, `kept` that of what
    is in the store now; all three are the same.
    """
    if answer not in ANSWERS:
        raise BadUse("bad_answer", f"{answer[:40]!r} is no answer.", hint="say approve or reject")
    if state == "expired":
        hint = "what it was about may be proposed again"
        raise Refused("decision_expired", f"The time to decide {decision} is over.", hint=hint)
    if state != "open":
        hint = "hq decisions --state any shows it"
        raise Refused("decided", f"The decision {decision} is {state} already.", hint=hint)
    if kept != asked:
        hint = "hq verify tells what was changed; have it proposed again"
        raise Refused("decision_altered", f"The decision {decision} is not as it was asked.", hint=hint)
    if shown != asked:
        hint = "look at it again, and answer with the digest that it shows"
        raise Refused("other_digest", f"What was shown is not what {decision} asks.", hint=hint)
