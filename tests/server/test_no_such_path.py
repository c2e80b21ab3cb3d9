"""What the HTTP door says of paths that are none, or are asked in another way: JSON, as every refusal."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.server.desks import desk_at
from tests.server.gates import Answer, ask, gate_of, make_token

pytestmark = pytest.mark.promise("WEB-1")


def test_a_path_that_is_none_or_takes_another_method_is_refused_in_json(tmp_path: Path) -> None:
    async def played() -> list[Answer]:
        async with desk_at(tmp_path) as desk, gate_of(desk) as app:
            token = (await make_token(desk, "session"))["token"]
            return [
                await ask(app, "/nowhere", token=token),
                await ask(app, "/metrics", method="POST", token=token),
                await ask(app, "/healthz", method="DELETE"),
                await ask(app, "/decisions/x/y", token=token),
            ]

    nowhere, posted, deleted, page = asyncio.run(played())
    assert (nowhere.status, nowhere.code) == (404, "no_such_path")
    for each in (posted, deleted):
        assert (each.status, each.code, "GET" in each.headers["allow"]) == (405, "wrong_method", True)
    for each in (nowhere, posted, deleted):
        assert each.headers["content-type"] == "application/json"
        assert set(json.loads(each.body)["error"]) == {"code", "sentence", "hint"}
    assert page.headers["content-type"] != "application/json"
