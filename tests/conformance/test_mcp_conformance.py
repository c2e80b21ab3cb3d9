"""The suites of the MCP project against `hq serve`, and against our server class with the tools they ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from server.serving import bind
from server.tools.mcp_server import HqServer
from server.tools.prompts import offer_prompts
from tests.conformance.fixture_rounds import offer_questions, offer_rounds
from tests.conformance.fixture_tools import (
    offer_addresses,
    offer_changes,
    offer_contents,
    offer_talk,
    offer_words,
)
from tests.conformance.programs import needs_programs
from tests.conformance.relay import relayed
from tests.conformance.suites import SUITES, Suite, exceptions, found
from tests.server.desks import desk_at
from tests.server.gates import answering, make_token
from tests.server.servers import served, told

OFFERS = (
    offer_contents, offer_talk, offer_changes, offer_addresses, offer_words, offer_questions, offer_rounds
)  # fmt: skip
pytestmark = [
    pytest.mark.heavy, needs_programs,
    # The fixtures of 2025-11-25 log and sample, as the suite wants them to; 2026-07-28 deprecates both.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]  # fmt: skip


@asynccontextmanager
async def hq_serve(folder: Path) -> AsyncIterator[str]:
    """HQ as it is served, with a token of the widest scope; the address where a relay sends it."""
    home, listening = folder / "hq", bind(0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    # The relay's address is HQ's public one, so that Host and Origin pass through it untouched.
    with served(home, HQ_PUBLIC_URL=url) as server:
        token = told(home, "token", "create", "--scope", "admin", "--name", "suite")["token"]
        async with relayed(listening, int(server.url.rpartition(":")[2]), token):
            yield f"{url}/mcp"


@asynccontextmanager
async def with_fixtures(folder: Path) -> AsyncIterator[str]:
    """Our server class with the suites' tools, behind HQ's own web door and connections; its address."""
    server, listening = HqServer(version="test"), bind(0)
    for offer in OFFERS:
        offer(server)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with desk_at(folder) as desk, answering(desk, server=server, public=url) as port:
        offer_prompts(server, desk)
        token = (await make_token(desk, "session"))["token"]
        async with relayed(listening, port, token):
            yield f"{url}/mcp"


SERVERS: dict[str, Callable[[Path], AbstractAsyncContextManager[str]]] = {
    "hq-serve": hq_serve, "with-fixtures": with_fixtures,
}  # fmt: skip


@pytest.mark.promise("MCP-3")
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
@pytest.mark.parametrize("server", SERVERS)
def test_what_fails_of_a_conformance_suite_is_exactly_what_was_reviewed(
    tmp_path: Path, server: str, suite: Suite, record_property: Callable[[str, object], None]
) -> None:
    reviewed, entries = exceptions(server, suite)

    async def played() -> None:
        async with SERVERS[server](tmp_path) as url:
            seen = await found(suite, url, reviewed, tmp_path / "suite")
        assert seen.not_reviewed(entries) == set(), seen.said
        assert seen.stale(entries) == set(), seen.said
        assert seen.silent == suite.silent, seen.said
        assert seen.content, seen.said
        as_reviewed = sum(bool(checks) for checks in seen.failed.values())
        counts = (
            f"F16 conformance {suite.name}, {server}: of {len(seen.failed)} scenarios {len(seen.passed)} passed, "
            f"{as_reviewed} failed as reviewed, {len(seen.silent)} looked at nothing; {seen.kept} checks passed"
        )
        record_property("counts", counts)

    asyncio.run(played())
