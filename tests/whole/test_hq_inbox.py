"""`hq inbox` as a person gives it: what waits, urgent first, and a link by which they sign in, once."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from server.actions import joining
from server.actions.escalate import record_gap, resolve_gap
from server.app import opened
from server.commands.inbox import print_link
from server.config import HqHome
from server.contract.documents import admit
from server.contract.joining import Beat
from server.contract.refusals import Refused
from server.storage.access_store import Caller
from tests.server.desks import ADMIN
from tests.server.joined_minions import act
from tests.server.servers import hq, served, told
from tests.server.test_holds import ALICE, hold, join


def lived_in(home: Path, holds: int = 1, gaps: Mapping[str, int] | None = None) -> None:
    """A home in which minions hold something, and gaps of these codes were met so often and have a proposal."""

    async def put() -> None:
        async with opened(HqHome(home), "a test") as (desk, _):
            minion = await join(desk)
            held = [hold(f"dec_01{number:020}") for number in range(holds)]
            beat = admit(Beat, {"minion": minion, "held": held}, source="A beat")
            await act(desk, joining.beat, beat, who=ALICE)
            for code, times in (gaps or {}).items():
                for _ in range(times):
                    await act(desk, record_gap, "skill", code, "It was lacked.", who=ADMIN)
                asked, proposer = {"hosts": ["x.example"]}, Caller("tok_prober", "prober", "reviewer")
                await act(desk, resolve_gap, code, "propose", "A skill.", needs=asked, who=proposer)

    home.mkdir(parents=True, exist_ok=True)
    asyncio.run(put())


def waiting(home: Path) -> list[dict[str, Any]]:
    """What waits, in the order in which it is shown."""
    found: list[dict[str, Any]] = told(home, "inbox")["waiting"]
    return found


@pytest.mark.heavy
@pytest.mark.promise("INB-2")
def test_the_inbox_shows_what_is_urgent_first_and_of_each_what_follows_from_a_yes(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    none = hq(home, "inbox")
    assert (none.returncode, "There is no store" in none.stderr) == (2, True)
    lived_in(home, 1, {"LLM-SELDOM": 1, "LLM-OFTEN": 5})
    shown = hq(home, "inbox").stdout.splitlines()
    assert [line for line in shown if line.endswith("(1)")] == [
        "Work is held until you answer (1)", "Lacked often, or soon too late (1)", "When there is time (1)",
    ]  # fmt: skip
    held, often, seldom = waiting(home)
    assert (held["kind"], often["evidence"]["requested_code"]) == ("hold", "LLM-OFTEN")
    assert f"  hq --home {home} decide {held['id'][:12]} approve    (or: reject)" in shown
    assert f"  hq --home {home} decide {seldom['id'][:12]} approve    (or: reject, changes)" in shown
    assert "           the skill tell-weather: sha256:11111111… → sha256:22222222…" in shown
    assert shown.count("  permits  +1 host: x.example, as its proposer says") == 2
    assert hq(home, "decide", held["id"], "changes", "--yes", "-m", "No.").returncode == 3
    lacking = hq(home, "decide", often["id"], "changes", "--yes")
    assert (lacking.returncode, "says what should be otherwise" in lacking.stderr) == (2, True)
    assert len(waiting(home)) == 3
    sent = hq(home, "decide", often["id"][:12], "changes", "--yes", "-m", "One host less.")
    assert sent.stdout.startswith("Sent back: gap gap_")
    assert "permits    +1 host: x.example" in sent.stderr
    before = hq(home, "decide", seldom["id"], "reject", "--yes", "--why", "As it was called before.")
    assert (before.returncode, before.stdout.startswith("Rejected")) == (0, True)
    assert hq(home, "decide", held["id"], "approve", "--yes").stdout == (
        f"Approved: alice is told with its next call ({held['id']}).\n"
    )
    assert hq(home, "inbox").stdout == "Nothing waits for a person.\n"
    assert "sent back by" in hq(home, "decisions", "--state", "changes").stdout
    assert "The answer waits for alice to ask for it." in hq(home, "decisions", "--state", "approved").stdout
    assert told(home, "verify")["intact"] is True


@pytest.mark.heavy
@pytest.mark.promise("INB-2")
def test_of_many_the_later_ones_have_a_line_each_and_none_is_left_out(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    lived_in(home, 20)
    shown = hq(home, "inbox").stdout
    assert len(shown.splitlines()) <= 60
    assert all(each["id"][:12] in shown for each in waiting(home))


@pytest.mark.heavy
@pytest.mark.promise("INB-4")
def test_a_link_from_the_terminal_signs_its_person_in_once_and_is_nowhere_else(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    lived_in(home)
    (held,) = waiting(home)
    with pytest.raises(Refused) as caught:
        print_link(HqHome(home), as_json=False)
    assert caught.value.code == "nobody_serves"
    nobody = hq(home, "inbox", "--link")
    assert (nobody.returncode, nobody.stdout, "No HQ answers for the home" in nobody.stderr) == (3, "", True)
    with served(home, HQ_LOG="debug") as server:
        made = hq(home, "decide", held["id"][:12], "--link")
        assert made.returncode == 0, made.stderr
        url = made.stdout.strip()
        person = re.findall(r"It signs you in as (\S+), once", made.stderr)[0]
        (code,) = parse_qs(urlsplit(url).query)["code"]
        origin = {"origin": server.url}
        with httpx2.Client(base_url=server.url, follow_redirects=True, headers=origin) as client:
            for _ in range(3):
                assert f"sign in as <strong>{person}</strong>" in client.get(url).text
            page = client.post("/sign-in/link", data={"code": code})
            assert (page.status_code, page.url.path) == (200, f"/decisions/{held['id']}")
            fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
            done = client.post(f"/decisions/{held['id']}", data={**fields, "answer": "approve"})
            assert f"<strong>Approved</strong> by {person} (local:link)" in done.text
        with httpx2.Client(base_url=server.url, headers=origin) as thief:
            assert thief.post("/sign-in/link", data={"code": code}).status_code == 410
            assert "signs nobody in again" in thief.get(url).text
        other = told(home, "inbox", "--link")
        assert other["link"].startswith(f"{server.url}/sign-in/link?code=")
        assert server.stop() == 0
        log = server.log()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert len([each for each in lines if each.get("path") == "/sign-in/link"]) == 6
    for secret in (code, other["link"].partition("=")[2]):
        assert secret not in log
        assert all(secret.encode() not in file.read_bytes() for file in home.iterdir() if file.is_file())
    with closing(sqlite3.connect(home / "hq.db")) as store:
        (who,) = store.execute("SELECT answered_by FROM decisions").fetchone()
    assert who == "local:link"
    missing = hq(home, "decide", held["id"])
    assert (missing.returncode, "Say your answer" in missing.stderr) == (2, True)
