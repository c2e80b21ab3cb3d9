"""What a run with a model may do only so often, over all of its tasks; and that what it means is what is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.contract.quota import EFFECTS_PER_RUN, GAPS_PER_RUN
from tests.conformance.engine_kit import reach, reports
from tests.messages_api import scripted, text, use
from tests.whole.homes import make_home, performed, write_routine, write_skill

pytestmark = pytest.mark.heavy

DONE = [text("Done.")]
ASK = """
import socket
for number in range(60):
    line = socket.create_connection(("127.0.0.1", 3128))
    line.sendall(b"CONNECT h%d.example.org:443 HTTP/1.1\\r\\n\\r\\n" % number)
    line.recv(99)
    line.close()
"""


@pytest.mark.promise("MOD-4")
def test_the_effects_of_a_run_are_counted_over_its_tasks_while_the_model_can_still_hear_it(
    tmp_path: Path,
) -> None:
    def many(name: str) -> list[dict[str, Any]]:
        return [use("stage_effect", kind="file", target=f"{name}{n}.md", body="x") for n in range(15)]

    home = make_home(tmp_path)
    for name in ("one", "two"):
        write_skill(home, name)
    with scripted(many("a"), DONE, many("b"), DONE, [reports("success")]) as api:
        reach(home, api)
        write_routine(home, "work", "one", "two", engine="messages", sandbox="required", effects=["file:*"])
        run = performed(home, "work")
        refused = api.results(failed=True)
    assert [effect["state"] for effect in run["effects"]] == ["delivered"] * EFFECTS_PER_RUN
    assert len(refused) == 30 - EFFECTS_PER_RUN
    assert all(f"a run may stage {EFFECTS_PER_RUN} effects" in words for words in refused)


@pytest.mark.promise("NET-1")
def test_hosts_that_are_turned_away_make_no_more_gaps_than_anybody_would_read(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    with scripted([use("bash", command=f"python3 - <<'END'\n{ASK}\nEND")], DONE, [reports("success")]) as api:
        reach(home, api)
        write_routine(
            home, "work", content="Look.", engine="messages", sandbox="required",
            environment={"network": ["pypi.org"]},
        )  # fmt: skip
        run = performed(home, "work")
    assert run["state"] == "completed"
    assert len(run["gaps"]) == GAPS_PER_RUN


@pytest.mark.promise("MOD-6")
def test_what_only_looks_like_a_secret_is_done_as_the_model_meant_it(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    line = "postgres://app:app-at-home@db:5432/app"
    turns = ([use("write", path="/scratch/env", content=line), use("bash", command="wc -c < /scratch/env")], DONE)
    with scripted(*turns, [reports("success")]) as api:
        reach(home, api)
        write_routine(home, "work", content="Look.", engine="messages", sandbox="required")
        assert performed(home, "work")["state"] == "completed"
        assert api.results()[1] == str(len(line))
