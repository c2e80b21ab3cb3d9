"""`hq serve` as an operator meets it: while it starts, when it stops, with a bad setting and a damaged store."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server.config import HqHome, read_holder
from server.storage.migrations import create
from tests.server.servers import HQ, REVISION, UP_S, environment, hq, served, told
from tests.server.test_database import damage
from tests.waiting import wait_until

pytestmark = pytest.mark.heavy
META = {
    "io.modelcontextprotocol/protocolVersion": REVISION, "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}  # fmt: skip
LISTEN = {"notifications": {"resourceSubscriptions": ["hq://runs"]}, "_meta": META}


def streaming(url: str, token: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """A stream of notices that is open."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=UP_S)
    message = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": LISTEN}
    headers = {
        "authorization": f"Bearer {token}", "content-type": "application/json", "mcp-protocol-version": REVISION,
        "accept": "application/json, text/event-stream", "mcp-method": "subscriptions/listen",
    }  # fmt: skip
    connection.request("POST", "/mcp", json.dumps(message), headers)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, "text/event-stream")
    return connection, answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_good_order_while_somebody_listens(tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "hq"
    text = told(home, "token", "create", "--scope", "session", "--name", "x")["token"]
    with served(home) as server:
        door = (home / "door").read_text().strip()
        opened = [streaming(server.url, each) for each in (text, text, door)]
        begun = time.monotonic()
        assert server.stop(number) == 0
        took = time.monotonic() - begun
        for connection, answer in opened:
            answer.read()  # each ended as a stream ends, and was not broken off
            connection.close()
    # What it is given before it breaks off whoever is left is 3 s: nobody was.
    assert (took < 3, [line for line in server.log().splitlines() if '"level": "error"' in line]) == (True, [])
    assert ("Traceback" in server.log(), "Cancel" in server.log()) == (False, False)


@pytest.mark.promise("HQ-3")
def test_a_command_given_while_it_starts_goes_through_it(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    process = subprocess.Popen(
        [str(HQ), "--home", str(home), "serve", "--port", "0"], env=environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert wait_until(lambda: (read_holder(HqHome(home)) or {}).get("command") == "hq serve", UP_S)
        done = hq(home, "token", "create", "--scope", "session", "--name", "x")
        assert (done.returncode, done.stdout.startswith("hq_session_")) == (0, True), done.stderr
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(UP_S)


def test_a_public_address_that_is_none_is_refused_and_a_good_one_is_shown(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    done = subprocess.run(
        [str(HQ), "--home", str(home), "serve", "--port", "0"], env={**environment(), "HQ_PUBLIC_URL": "nonsense"},
        capture_output=True, text=True, timeout=UP_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, home.exists()) == (2, "", False)
    assert done.stderr.startswith("hq: HQ_PUBLIC_URL is no address of the form http(s)://HOST[:PORT].\nhint: say")
    with served(home, HQ_PUBLIC_URL="https://hq.example.com/") as server:
        assert f"HQ answers at {server.url} and, through a proxy, at https://hq.example.com;" in server.log()
        assert told(home, "status")["public_url"] == "https://hq.example.com"
        assert "public     https://hq.example.com" in hq(home, "status").stdout.splitlines()


def test_a_store_that_was_damaged_before_is_found_out_soon_after_it_answers(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    home.mkdir()
    create(home / "hq.db")
    damage(home / "hq.db", "skills")
    with served(home) as server:
        place = urlsplit(server.url)

        def status() -> int:
            with closing(http.client.HTTPConnection(place.hostname or "", place.port, timeout=UP_S)) as asking:
                asking.request("GET", "/readyz")
                return asking.getresponse().status

        assert wait_until(lambda: status() == 503, UP_S)
        assert '"says": "the store is damaged: ' in server.log()
        assert "not ready" in hq(home, "status").stdout
        assert server.stop() == 0


def test_a_store_that_is_damaged_where_hq_begins_is_refused_with_what_mends_it(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    home.mkdir()
    create(home / "hq.db")
    damage(home / "hq.db", "minions")
    done = hq(home, "serve", "--port", "0")
    assert (done.returncode, "malformed" in done.stderr, "hq restore" in done.stderr) == (1, True, True)
