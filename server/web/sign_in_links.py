"""Links by which the person of a terminal signs in on the pages: each good once, for ten minutes.

Only HQ's owner is given one, over the home's door (`door.py`). Kept in the memory of the process that serves, as
digests; to open one does nothing, so that whatever fetches addresses ahead of people signs nobody in.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from server.actions.desk import Desk
from server.contract.digest import instant, is_id
from server.contract.refusals import NotFound, Refused
from server.storage.access_store import LOCAL, Caller
from server.web.rates import Rates
from server.web.sign_ins import DOOR, SIGN_IN_LINK

GOOD_FOR: Final = timedelta(minutes=10)
# Who comes with one that is over is told so for so long, and not that there never was one.
_TOLD_FOR: Final = timedelta(hours=1)
MOST_KEPT: Final = 64
A_MINUTE: Final = 10
WRONG_A_MINUTE: Final = 30
_BYTES: Final = 32
_ANOTHER: Final = "`hq inbox --link` makes another, at a terminal of HQ's machine"


@dataclass(slots=True)
class _Link:
    person: str
    after: str
    until: datetime
    used: bool = False


@dataclass(slots=True)
class SignInLinks:
    """The links that were made, by the digest of their code."""

    desk: Desk
    made: Rates = field(default_factory=lambda: Rates(A_MINUTE, A_MINUTE))
    wrong: Rates = field(default_factory=lambda: Rates(WRONG_A_MINUTE, WRONG_A_MINUTE))
    _kept: dict[str, _Link] = field(default_factory=dict, repr=False)

    def make(self, person: str, after: str = "") -> dict[str, Any]:
        """A link for a person of this name, on to the decision `after`: its `path`, and until when it is good.

        Raises `Refused` for more than ten a minute.
        """
        if self.made.wait_s(person):
            says = "So many sign-in links are not made in a minute."
            raise Refused("too_many_links", says, hint="use one of those you have, or wait a moment")
        now = self.desk.clock()
        for digest in [each for each, link in self._kept.items() if now - link.until > _TOLD_FOR]:
            del self._kept[digest]
        if len(self._kept) >= MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        code, until = secrets.token_urlsafe(_BYTES), now + GOOD_FOR
        self._kept[_digest(code)] = _Link(person, after if is_id(after, "dec_") else "", until)
        return {"path": f"{SIGN_IN_LINK}?code={code}", "person": person, "expires_at": instant(until)}

    def person_of(self, code: str) -> str:
        """Whom a link that is good still signs in; it stays good. Raises `NotFound`, `Refused`."""
        return self._good(code).person

    def use(self, code: str) -> tuple[Caller, str]:
        """Who is signed in by a link, and the decision they go on to; it is good no more.

        Raises `NotFound`, and `Refused` for one that was used before, or is too old.
        """
        link = self._good(code)
        link.used = True
        # They may decide, and nothing else: no more is needed on the pages.
        return Caller(f"{LOCAL}link", link.person, "reviewer", door=DOOR), link.after

    def _good(self, code: str) -> _Link:
        link = self._kept.get(_digest(code))
        if link is not None and not link.used and self.desk.clock() < link.until:
            return link
        if self.wrong.wait_s(""):
            raise Refused("too_many_tries", "That is too many links that are not good.", hint="wait a moment")
        if link is None:
            raise NotFound("no_such_link", "This is no sign-in link of HQ's, or one of long ago.", hint=_ANOTHER)
        if link.used:
            says = "This link was used before, and signs nobody in again."
            raise Refused("link_used", says, hint=f"{_ANOTHER}; if it was not you who used it, restart HQ")
        raise Refused("link_over", "This link is over ten minutes old, and good no more.", hint=_ANOTHER)


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
