"""The way out of a sandbox: through its door to the proxy and nowhere else, whatever the routine's network is."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from minion.runner.doorway import PORT, Doorway
from minion.sandbox.bubblewrap import INSIDE_EGRESS, Envelope
from minion.sandbox.tool_client import SandboxUnusable, ToolHost
from server.contract.egress import Egress
from server.contract.quota import Limits
from tests.minion.test_sandbox_envelope import WHY_NOT, marker
from tests.minion.tool_hosts import PATHS, PYTHON

pytestmark = [pytest.mark.heavy, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


class Hello(BaseHTTPRequestHandler):
    """Says hello and which host it was asked for."""

    def do_GET(self) -> None:
        said = f"hello {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@contextmanager
def hello(port: int = 0) -> Iterator[int]:
    """The port of a small web server on the host's loopback."""
    with ThreadingHTTPServer(("127.0.0.1", port), Hello) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


async def near(host: str, _port: int) -> Sequence[str]:
    """A resolver for which every name below near.test is this machine, and any other an address of no host."""
    return ["127.0.0.1"] if host.endswith("near.test") else ["10.0.0.1"]


@asynccontextmanager
async def sandbox(folder: Path, network: str | Sequence[str]) -> AsyncIterator[tuple[ToolHost, list[str]]]:
    """A tool host in a sandbox with the door of that network, and the hosts that were refused."""
    told: list[str] = []
    doorway = Doorway(
        egress=Egress.of(network),
        socket=folder / "egress",
        log=folder / "tool_host.log",
        python=PYTHON,
        limits=Limits(),
        blocked=lambda host, port, _why: told.append(f"{host}:{port}"),
        resolve=near,
    )
    host = await doorway.start(Envelope(env=PATHS), sandboxed=True)
    try:
        yield host, told
    finally:
        await host.close()


async def bash(host: ToolHost, line: str) -> str:
    """What a shell line prints inside, both streams."""
    done = await host.run(["bash", "-c", f"{line} 2>&1"], cwd="/", timeout_s=60, max_bytes=100_000)
    return done.stdout.decode()


FETCH = """python3 -c '
import sys, urllib.request, urllib.error
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())
except urllib.error.HTTPError as answer:
    print(answer.code, answer.reason, answer.read().decode())
except OSError as failure:
    print(failure)
' """


@pytest.mark.promise("NET-1")
def test_a_program_inside_reaches_a_listed_host_by_the_usual_variables_and_no_other(tmp_path: Path) -> None:
    async def story(port: int) -> None:
        listed = [f"near.test:{port}", f"127.0.0.1:{port}"]
        async with sandbox(tmp_path, listed) as (host, told):
            assert await bash(host, f"{FETCH} http://near.test:{port}/") == f"hello near.test:{port}\n"
            refused = await bash(host, f"{FETCH} http://other.test/")
            assert refused.startswith("403 host_not_allowed host_not_allowed: other.test:80 is not on")
            # What is asked for by CONNECT sees no body, and yet the word.
            assert "403 host_not_allowed" in await bash(host, f"{FETCH} https://secret.test/")
            assert told == ["other.test:80", "secret.test:443"]
            if shutil.which("curl"):
                assert await bash(host, f"curl -sS -p http://near.test:{port}/") == f"hello near.test:{port}"

    with hello() as port:
        asyncio.run(story(port))


PROBES = """python3 -c '
import os, socket, sys
port, abstract = int(sys.argv[1]), sys.argv[2]
def tried(family, address):
    try:
        with socket.socket(family) as probe:
            probe.settimeout(5)
            probe.connect(address)
            print("reached", address)
    except OSError:
        pass
tried(socket.AF_INET, ("127.0.0.1", port))
tried(socket.AF_INET, ("10.0.0.1", 80))
tried(socket.AF_INET, ("169.254.169.254", 80))
tried(socket.AF_INET6, ("::1", port))
tried(socket.AF_UNIX, "\\0" + abstract)
for path in ("/run/docker.sock", "/var/run/docker.sock", "/run/dbus/system_bus_socket", "/tmp/.X11-unix/X0"):
    tried(socket.AF_UNIX, path)
with open("/proc/net/unix") as file:
    print(sum(abstract in line for line in file), "seen")
print([name for _, name in socket.if_nameindex()], os.path.exists("/etc/resolv.conf"))
try:
    socket.getaddrinfo("example.com", 80)
    print("looked up")
except OSError:
    pass
for family in (socket.AF_INET, socket.AF_PACKET):
    try:
        socket.socket(family, socket.SOCK_RAW, 1).close()
        print("raw")
    except OSError:
        pass
' """


@pytest.mark.parametrize("network", ["none", "trusted", "full"])
@pytest.mark.promise("NET-1")
def test_sockets_of_the_host_stay_out_of_reach_with_every_network(tmp_path: Path, network: str) -> None:
    name = f"minion-{marker()}"

    async def story(port: int) -> None:
        async with sandbox(tmp_path, network) as (host, _):
            assert await bash(host, f"{PROBES} {port} {name}") == "0 seen\n['lo'] False\n"
            if network == "none":
                gone = await bash(host, f"env | grep -i _proxy; ls {INSIDE_EGRESS} /minion/door.py | wc -l")
                assert gone.splitlines()[-1] == "0"
            else:
                through = await bash(host, f"curl -sS --noproxy '' -x $http_proxy http://127.0.0.1:{port}/")
                assert through.startswith("host_not_allowed: 127.0.0.1") or not shutil.which("curl")

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen()
        asyncio.run(story(listener.getsockname()[1]))


GO_ROUND = f"""python3 -c '
import socket, sys
probe = socket.socket(socket.AF_UNIX)
probe.connect("{INSIDE_EGRESS}")
probe.sendall(b"CONNECT " + sys.argv[1].encode() + b" HTTP/1.1\\r\\n\\r\\n")
print(probe.recv(1000).decode().splitlines()[0])
' """


def test_whoever_goes_round_the_door_meets_the_same_proxy(tmp_path: Path) -> None:
    async def story() -> None:
        async with sandbox(tmp_path, "full") as (host, told):
            for target in ("127.0.0.1:22", "www.near.test:443", "internal.test:443", "169.254.169.254:80"):
                assert await bash(host, f"{GO_ROUND} {target}") == "HTTP/1.1 403 host_not_allowed\n"
            assert len(told) == 4
            assert "rm: cannot remove" in await bash(host, f"rm -f {INSIDE_EGRESS}; rm {INSIDE_EGRESS}")

    asyncio.run(story())


def test_a_door_that_was_killed_is_opened_again(tmp_path: Path) -> None:
    async def story(port: int) -> None:
        async with sandbox(tmp_path, [f"near.test:{port}", f"127.0.0.1:{port}"]) as (host, _):
            await bash(host, "for p in /proc/[0-9]*; do grep -q door.py $p/cmdline && kill -9 ${p#/proc/}; done")
            asked = f"(echo > /dev/tcp/127.0.0.1/{PORT})"
            await bash(host, f"for i in $(seq 400); do {asked} 2>/dev/null && break; sleep 0.05; done")
            assert await bash(host, f"{FETCH} http://near.test:{port}/") == f"hello near.test:{port}\n"

    with hello() as port:
        asyncio.run(story(port))


def test_the_proxy_and_its_socket_end_with_the_tool_host(tmp_path: Path) -> None:
    async def story() -> None:
        async with sandbox(tmp_path, "full"):
            assert (tmp_path / "egress").is_socket()
        assert not (tmp_path / "egress").exists()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(story())


def test_a_tool_host_that_does_not_start_leaves_no_proxy_behind(tmp_path: Path) -> None:
    async def story() -> None:
        doorway = Doorway(
            Egress.of("full"), tmp_path / "egress", tmp_path / "log", PYTHON, Limits(), lambda *_: None
        )
        with contextlib.suppress(SandboxUnusable):
            await doorway.start(Envelope(env={"BAD=NAME": "x"}), sandboxed=True)
            raise AssertionError("it started")
        assert not (tmp_path / "egress").exists()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(story())
