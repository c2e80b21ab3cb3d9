"""A person's browser at HQ's pages for tests: it keeps the cookie, sends forms, presses buttons."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from server.actions.desk import Desk
from server.contract.digest import instant
from server.storage import finding_store
from server.web.gate import App
from tests.server.desks import Clock, desk_at
from tests.server.gates import PORT, Answer, ask, make_token

ORIGIN = f"http://127.0.0.1:{PORT}"
NOBODYS = "dec_01AAAAAAAAAAAAAAAAAAAA"
HOSTILE = "</pre><script>alert(1)</script> \x1b[2J\u202e <img src=x onerror=y>"


def play(folder: Path, scene: Callable[[Desk], Awaitable[Any]], clock: Clock | None = None) -> Any:
    """What a scene at a desk answers."""

    async def played() -> Any:
        async with desk_at(folder, clock) as desk:
            return await scene(desk)

    return asyncio.run(played())


async def asked(
    desk: Desk, question: str = "Use it?", evidence: Mapping[str, Any] | None = None, **more: Any
) -> str:
    """A decision that waits; its id."""
    return await desk.database.transact(
        finding_store.ask, "variant", "WF-X.V04", question, evidence or {"runs": ["run_1"], "rate": 0.9},
        by="tok_asker", now=instant(desk.clock()), **more,
    )  # fmt: skip


async def state_of(desk: Desk, decision: str) -> tuple[Any, ...]:
    """How a decision stands, by whose answer and why."""
    row = await desk.read(finding_store.find_decision, decision)
    return row.state, row.answered_name, row.why


@dataclass(slots=True)
class Browser:
    """A person's browser at the pages: it keeps the cookie and sends the page's own origin with each form."""

    app: App
    cookie: str | None = None
    seen: list[Answer] = field(default_factory=list)

    async def get(self, path: str, *headers: tuple[str, str]) -> Answer:
        """A page, with the cookie where it goes."""
        return await self._ask(path, headers, method="GET")

    async def post(self, path: str, headers: Iterable[tuple[str, str]] = (), **fields: str) -> Answer:
        """A form."""
        said = [("content-type", "application/x-www-form-urlencoded"), ("origin", ORIGIN), *headers]
        return await self._ask(path, said, method="POST", body=[urlencode(fields).encode()])

    async def sign_in(self, token: str, **fields: str) -> Answer:
        """Sign in, and keep the cookie."""
        answer = await self.post("/sign-in", token=token, **fields)
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
        return answer

    async def answer(self, decision: str, said: str = "approve", **fields: str) -> Answer:
        """Open a decision's page and press a button there; `fields` are what is changed in the form before."""
        page = (await self.get(f"/decisions/{decision}")).body.decode()
        shown = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
        return await self.post(f"/decisions/{decision}", **{**shown, "answer": said, **fields})

    async def _ask(self, path: str, headers: Iterable[tuple[str, str]], **more: Any) -> Answer:
        sends = self.cookie is not None and path.startswith("/decisions")
        cookie = [("cookie", f"hq_person={self.cookie}")] if sends else []
        self.seen.append(await ask(self.app, path, headers=[*headers, *cookie], **more))
        return self.seen[-1]


async def signed_in(desk: Desk, app: App, scope: str = "reviewer", name: str = "ann") -> Browser:
    """A browser in which somebody is signed in."""
    browser = Browser(app)
    made = await make_token(desk, scope, name)
    assert (await browser.sign_in(made["token"])).status == 303
    return browser


def digest_in(page: Answer) -> str:
    """The digest that a page shows."""
    return re.findall(r"sha256:\w{64}", page.body.decode())[0]


async def change(desk: Desk, query: Any) -> None:
    """Change the store, as who may write the file can."""
    await desk.database.transact(lambda connection: connection.execute(query) and None)


def refused(answer: Answer) -> tuple[int, str]:
    """The status of a page that refuses, and the code of what it says."""
    (code,) = re.findall(r'data-code="(\w+)"', answer.body.decode())
    return answer.status, code
