"""What the proxy of a run lets through: real sockets on loopback, and names by a plain function."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from collections.abc import Coroutine, Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from minion.runner.doorway import variables
from minion.runner.egress import MOST_TOLD, Bounds
from server.contract.egress import Egress, kind_of, pattern_of
from tests.minion.egress_ends import ANSWER, ask, far_end, proxy_of, tunnel

REFUSED = b"HTTP/1.1 403 host_not_allowed\r\n"


def done(story: Coroutine[object, object, None]) -> None:
    """Run a story to its end."""
    asyncio.run(story)


def body_of(answer: bytes) -> str:
    """The body of an answer."""
    return answer.partition(b"\r\n\r\n")[2].decode()


def own_address() -> str | None:
    """An address of this machine that the internet or a private network could know it by."""
    for family, beyond in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((beyond, 9))  # a datagram socket sends nothing when it connects
            own = str(probe.getsockname()[0])
            if kind_of(ip_address(own)) in (None, "a private address"):
                return own
    return None


def test_a_tunnel_to_a_listed_address_carries_bytes_both_ways_and_counts_them(tmp_path: Path) -> None:
    async def story() -> None:
        async with far_end() as far, proxy_of(tmp_path, [f"127.0.0.1:{far.port}"]) as (proxy, path, told):
            reader, writer = await tunnel(path, f"127.0.0.1:{far.port}")
            sent = bytes(range(256)) * 4096
            writer.write(sent)
            assert await reader.readexactly(len(sent)) == sent
            writer.write_eof()  # an end that has said all still hears the rest
            assert await reader.read() == b""
            assert (proxy.sent, proxy.received, told) == (len(sent), len(sent), [])
            writer.close()

    done(story())


def test_a_host_that_is_not_listed_is_refused_in_words_and_told_of_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with far_end() as far, proxy_of(tmp_path, ["example.com"]) as (proxy, path, told):
            for said in (
                f"CONNECT 127.0.0.1:{far.port} HTTP/1.1\r\n\r\n",
                f"GET http://127.0.0.1:{far.port}/ HTTP/1.1\r\n\r\n",
            ):
                answer = await ask(path, said.encode())
                assert answer.startswith(REFUSED)
                assert body_of(answer) == (
                    f"host_not_allowed: 127.0.0.1:{far.port} is not on the routine's list (environment.network). "
                    "Do without it, and say in your report if it is needed.\n"
                )
            why = "is not on the routine's list (environment.network)"
            assert told == [("127.0.0.1", far.port, why)]
            assert (far.came, proxy.sent, proxy.received) == ([], 0, 0)

    done(story())


@pytest.mark.parametrize(
    "host",
    [
        "a.test\0.b.test", "a.test#.b.test", "me@a.test", "a.test%00.b.test", "a\tb", "a\x1bb", "bücher.test",
        "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0x7f000001", "[::ffff:127.0.0.1%lo]", "a" * 254, "",
        "[::1", "a..test", "-a.test", "..", "a/b", "a\\b", "*.test", "a,b",
    ],
)  # fmt: skip
@pytest.mark.promise("NET-1")
def test_a_host_that_could_be_read_in_two_ways_is_refused_and_never_looked_up(tmp_path: Path, host: str) -> None:
    asked: list[str] = []

    async def resolve(name: str, _port: int) -> Sequence[str]:
        asked.append(name)
        return ["127.0.0.1"]

    async def story() -> None:
        async with proxy_of(tmp_path, ["127.0.0.1", "*.a.test", "a.test"], resolve=resolve) as (_, path, told):
            answer = await ask(path, f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode())
            assert answer.startswith(REFUSED)
            assert body_of(answer).startswith("host_not_allowed: ")
            assert body_of(answer).isprintable() or body_of(answer)[:-1].isprintable()
            assert len(told) == 1
            assert asked == []

    done(story())


@pytest.mark.parametrize(
    "target",
    [
        "http://a.test#@127.0.0.1/", "http://127.0.0.1@b.test/", "http://127.0.0.1\\@b.test/",
        "http://b.test:80:443/",
        "http:///x", "http://a.test:0/", "http://a.test:65536/", "http://a.test%2f@127.0.0.1/",
    ],
)  # fmt: skip
def test_an_address_with_more_than_a_host_in_it_is_refused(tmp_path: Path, target: str) -> None:
    async def story() -> None:
        async with proxy_of(tmp_path, ["127.0.0.1", "a.test"]) as (_, path, _told):
            assert (await ask(path, f"GET {target} HTTP/1.1\r\n\r\n".encode())).startswith(REFUSED)

    done(story())


@pytest.mark.parametrize("written", ["Near.TEST.", "near.test", "NEAR.test"])
@pytest.mark.promise("NET-1")
def test_a_name_is_looked_up_once_and_the_address_that_was_judged_is_connected_to(
    tmp_path: Path, written: str
) -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    asked: list[str] = []

    async def resolve(name: str, _port: int) -> Sequence[str]:
        asked.append(name)
        return answers.pop(0)

    async def story() -> None:
        async with far_end() as far:
            listed = [f"near.test:{far.port}", f"127.0.0.1:{far.port}"]
            async with proxy_of(tmp_path, listed, resolve=resolve) as (_, path, _told):
                reader, writer = await tunnel(path, f"{written}:{far.port}")
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
                writer.close()
                again = await ask(path, f"CONNECT {written}:{far.port} HTTP/1.1\r\n\r\n".encode())
                assert again.startswith(REFUSED)
                assert "leads to 169.254.169.254, a link-local address" in body_of(again)
                assert asked == ["near.test", "near.test"]

    done(story())


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"], ["127.0.0.1"], ["::1"], ["169.254.169.254"], ["100.64.1.1"], ["::ffff:10.0.0.1"],
        ["64:ff9b::a00:1"], ["2002:a00:1::"], ["0.0.0.0"], ["224.0.0.1"], ["fe80::1%1"], ["1.1.1.1",
        "192.168.0.1"],
    ],
)  # fmt: skip
def test_one_address_that_is_not_public_is_enough_to_refuse_a_name(tmp_path: Path, addresses: list[str]) -> None:
    async def resolve(_name: str, _port: int) -> Sequence[str]:
        return addresses

    async def story() -> None:
        for network in ("full", ["*.a.test"]):
            async with proxy_of(tmp_path, network, resolve=resolve) as (_, path, told):
                answer = await ask(path, b"CONNECT www.a.test:443 HTTP/1.1\r\n\r\n")
                assert answer.startswith(REFUSED)
                assert "leads to" in told[0][2]

    done(story())


def test_with_full_an_address_of_this_machine_is_refused_however_it_is_asked_for(tmp_path: Path) -> None:
    async def story() -> None:
        async with far_end() as far, proxy_of(tmp_path, "full") as (_, path, _told):
            for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "localhost", "LOCALHOST.", "0.0.0.0", "[::]"):
                answer = await ask(path, f"CONNECT {host}:{far.port} HTTP/1.1\r\n\r\n".encode())
                assert answer.startswith(REFUSED), host
            assert far.came == []

    done(story())


def test_a_listed_name_that_leads_to_this_machine_by_its_other_addresses_is_refused(tmp_path: Path) -> None:
    own = own_address()
    if own is None:
        pytest.skip("this machine has no private or public address")
    listed = f"[{own}]:1" if ":" in own else f"{own}:1"

    async def resolve(_name: str, _port: int) -> Sequence[str]:
        return [own]

    async def story() -> None:
        async with proxy_of(tmp_path, ["near.test:1"], resolve=resolve) as (_, path, _told):
            answer = await ask(path, b"CONNECT near.test:1 HTTP/1.1\r\n\r\n")
            assert f"leads to {own}, an address of this machine" in body_of(answer)
        async with proxy_of(tmp_path, ["near.test:1", listed], resolve=resolve) as (_, path, _told):
            assert b" 502 not_reached" in await ask(path, b"CONNECT near.test:1 HTTP/1.1\r\n\r\n")

    done(story())


def test_localhost_is_reached_where_it_is_listed_by_its_name(tmp_path: Path) -> None:
    async def resolve(_name: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async def story() -> None:
        async with far_end() as far:
            target = f"localhost:{far.port}"
            async with proxy_of(tmp_path, [target], resolve=resolve) as (_, path, _told):
                _, writer = await tunnel(path, target)
                writer.close()

    done(story())


def test_a_plain_request_reaches_its_host_alone_and_without_what_was_for_the_proxy(tmp_path: Path) -> None:
    async def story() -> None:
        async with far_end(answers=True) as far, proxy_of(tmp_path, [f"127.0.0.1:{far.port}"]) as (proxy, path, _):
            said = (
                f"POST http://127.0.0.1:{far.port}/a?b=http://c HTTP/1.1\r\nHost: evil.test\r\nX-Kept: 1\r\n"
                "Proxy-Authorization: Basic eA==\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nUpgrade: h2c\r\n"
                "Content-Length: 5\r\n\r\nhelloGET http://127.0.0.1/second HTTP/1.1\r\n\r\n"
            ).encode()
            assert await ask(path, said) == ANSWER
            came = (
                f"POST /a?b=http://c HTTP/1.1\r\nHost: 127.0.0.1:{far.port}\r\nX-Kept: 1\r\nContent-Length: 5\r\n"
                "Connection: close\r\n\r\nhello"
            ).encode()
            assert far.came == [came]
            assert (proxy.sent, proxy.received) == (len(came), len(ANSWER))

    done(story())


def test_a_body_in_chunks_is_handed_on_to_its_end_and_not_further(tmp_path: Path) -> None:
    async def story() -> None:
        async with far_end(answers=True) as far, proxy_of(tmp_path, [f"127.0.0.1:{far.port}"]) as (_, path, _told):
            said = (
                f"PUT http://127.0.0.1:{far.port} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                "5;name=value\r\nhello\r\n0\r\nTrailer: x\r\n\r\nGET /second HTTP/1.1\r\n\r\n"
            )
            assert await ask(path, said.encode()) == ANSWER
            assert far.came[0].startswith(b"PUT / HTTP/1.1\r\n")
            assert far.came[0].partition(b"\r\n\r\n")[2] == b"5\r\nhello\r\n0\r\n\r\n"

    done(story())


@pytest.mark.parametrize(
    "head",
    [
        "GET {url} HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET {url} HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "GET {url} HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        "GET {url} HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "GET {url} HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
        "GET {url} HTTP/1.1\r\nA: b\r\n c: d\r\n\r\n",
        "GET {url} HTTP/1.1\r\nA: b\nHost: evil\r\n\r\n",
        "GET {url} HTTP/1.1\r\nA: b\0\r\n\r\n",
        "GET {url} HTTP/1.1\r\nno colon\r\n\r\n",
        "GET {url}\x0bx HTTP/1.1\r\n\r\n",
        "GET {url}  HTTP/1.1\r\n\r\n",
        "GET {url} HTTP/2.0\r\n\r\n",
        "G(T {url} HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET ftp://127.0.0.1/ HTTP/1.1\r\n\r\n",
        "\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
    ],
)
def test_what_is_not_plainly_one_request_is_refused_whole(tmp_path: Path, head: str) -> None:
    async def story() -> None:
        async with far_end(answers=True) as far, proxy_of(tmp_path, [f"127.0.0.1:{far.port}"]) as (_, path, _told):
            said = head.replace("{url}", f"http://127.0.0.1:{far.port}/").encode()
            assert (await ask(path, said)).startswith(b"HTTP/1.1 400 bad_request\r\n")
            assert far.came == []

    done(story())


def test_a_head_has_a_size_and_a_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with proxy_of(tmp_path, "full", bounds=Bounds(head_s=0.05)) as (_, path, _told):
            assert (await ask(path, b"GET http://a/ HTTP/1.1\r\nA: " + b"a" * 20_000)).startswith(b"HTTP/1.1 431 ")
            assert (await ask(path, b"CONNECT a.test")).startswith(b"HTTP/1.1 408 ")

    done(story())


def test_a_name_without_an_address_and_a_port_without_a_server_are_said_to_be_that(tmp_path: Path) -> None:
    async def slow(_name: str, _port: int) -> Sequence[str]:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        async with proxy_of(tmp_path, [f"127.0.0.1:{port}", "a.test"]) as (_, path, told):
            answer = await ask(path, f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 502 not_reached\r\n")
            assert body_of(await ask(path, b"GET http://a.test/ HTTP/1.1\r\n\r\n")) == (
                "name_not_resolved: No address of a.test was found.\n"
            )
            assert told == []
        async with proxy_of(tmp_path, ["a.test"], resolve=slow, bounds=Bounds(resolve_s=0.05)) as (_, path, _told):
            assert b" 502 name_not_resolved" in await ask(path, b"CONNECT a.test:443 HTTP/1.1\r\n\r\n")

    done(story())


def test_there_are_so_many_connections_at_once_and_no_more(tmp_path: Path) -> None:
    async def story() -> None:
        async with far_end() as far:
            target = f"127.0.0.1:{far.port}"
            async with proxy_of(tmp_path, [target], bounds=Bounds(connections=2)) as (_, path, _told):
                first, second = await tunnel(path, target), await tunnel(path, target)
                refused = await ask(path, b"")
                assert refused.startswith(b"HTTP/1.1 503 too_many_connections\r\n")
                first[1].write_eof()
                assert await first[0].read() == b""
                first[1].close()
                third = await tunnel(path, target)
                for _, writer in (second, third):
                    writer.close()

    done(story())


def test_a_tunnel_in_which_nothing_moves_is_closed(tmp_path: Path) -> None:
    async def story() -> None:
        async with far_end() as far:
            target = f"127.0.0.1:{far.port}"
            async with proxy_of(tmp_path, [target], bounds=Bounds(idle_s=0.1)) as (_, path, _told):
                reader, writer = await tunnel(path, target)
                async with asyncio.timeout(20):
                    assert await reader.read() == b""
                writer.close()

    done(story())


def test_the_end_of_the_far_side_reaches_the_near_one(tmp_path: Path) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            target = f"127.0.0.1:{listener.getsockname()[1]}"
            async with proxy_of(tmp_path, [target]) as (_, path, _told):
                reader, writer = await tunnel(path, target)
                far, _ = listener.accept()
                far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                far.close()  # with a reset
                async with asyncio.timeout(20):
                    with contextlib.suppress(ConnectionResetError):
                        assert await reader.read() == b""
                writer.close()

    done(story())


def test_closing_ends_every_connection_and_takes_the_socket_away(tmp_path: Path) -> None:
    async def story() -> None:
        async with far_end() as far, proxy_of(tmp_path, [f"127.0.0.1:{far.port}"]) as (proxy, path, _):
            reader, writer = await tunnel(path, f"127.0.0.1:{far.port}")
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            await proxy.close()
            await proxy.close()
            async with asyncio.timeout(20):
                assert await reader.read() == b""
            writer.close()
            assert not path.exists()

    done(story())


def test_a_run_folder_with_a_long_path_has_its_socket_too(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    (folder / "egress").write_text("left by a run that was killed")

    async def story() -> None:
        async with proxy_of(folder, "full") as (_, path, _told):
            assert len(str(path)) > 108
            assert stat.S_ISSOCK(path.stat().st_mode)

    done(story())


def test_a_session_that_asks_for_ever_new_hosts_fills_no_log(tmp_path: Path) -> None:
    async def story() -> None:
        async with proxy_of(tmp_path, ["a.test"]) as (_, path, told):
            for number in range(MOST_TOLD + 20):
                await ask(path, f"CONNECT h{number}.test:443 HTTP/1.1\r\n\r\n".encode())
            assert len(told) == MOST_TOLD

    done(story())


def test_an_address_of_this_machine_that_is_listed_leads_through_the_door() -> None:
    for listed, around in ((["pypi.org"], "localhost,127.0.0.1,::1"), (["127.0.0.1:8080"], "localhost,::1")):
        assert variables(Egress("list", tuple(map(pattern_of, listed))))["no_proxy"] == around
