"""Probes that reach for the network: the host's own sockets, other families, and the proxy that leads out."""

from __future__ import annotations

from typing import Final

from tests.faults.probes.probe import Probe

# Asks the proxy, by its socket and by the door, and says what came back.
ASK: Final = """
def ask(data):
    found = b''
    for family, place in ((socket.AF_UNIX, '/minion/egress'), (socket.AF_INET, ('127.0.0.1', 3128))):
        try:
            with socket.socket(family) as probe:
                probe.settimeout(3)
                probe.connect(place)
                probe.sendall(data)
                probe.shutdown(socket.SHUT_WR)
                while part := probe.recv(65536):
                    found += part
        except OSError:
            pass
    return found
"""
CONNECT: Final = """
def connect(family, place, kind=socket.SOCK_STREAM):
    try:
        with socket.socket(family, kind) as probe:
            probe.settimeout(3)
            probe.connect(place)
            probe.send(b'out')
    except OSError:
        pass
"""

NETWORK: Final = (
    Probe(
        "loopback",
        CONNECT + "for host in ('127.0.0.1', '127.9.9.9', '0.0.0.0'): connect(socket.AF_INET, (host, M['tcp']))",
    ),
    Probe("loopback-6", CONNECT + "connect(socket.AF_INET6, ('::1', M['tcp6']))", needs="ipv6"),
    Probe(
        "host-address",
        CONNECT + "for host in M['addresses']: connect(socket.AF_INET, (host, M['tcp']))",
        needs="address",
    ),
    Probe("datagram", CONNECT + "connect(socket.AF_INET, ('127.0.0.1', M['udp']), socket.SOCK_DGRAM)"),
    Probe(
        "raw",
        "for family, kind in ((socket.AF_INET, 1), (socket.AF_PACKET, 3), (socket.AF_INET6, 58)):\n"
        "    tried(family, lambda: socket.socket(family, socket.SOCK_RAW, kind).close())",
        needs="cap-13",
    ),
    Probe(
        "host-sockets",
        """
for path in ('/proc/net/tcp', '/proc/1/net/tcp', '/proc/net/unix', '/proc/1/net/unix'):
    try:
        with open(path) as file:
            text = file.read()
    except OSError:
        continue
    if f":{M['tcp']:04X} " in text or M['abstract'] in text:
        reached(path)
names = [name for _, name in socket.if_nameindex() if name != 'lo']
if names and M['sandboxed']:
    reached(names)
""",
    ),
    Probe("abstract-socket", CONNECT + "connect(socket.AF_UNIX, '\\0' + M['abstract'])"),
    Probe(
        "socket-files",
        CONNECT
        + "for place in (M['socket'], f\"/proc/1/root{M['socket']}\", f\"/proc/self/root{M['socket']}\"):\n"
        "    connect(socket.AF_UNIX, place)",
    ),
    Probe(
        "machine-sockets",
        "tried('vsock', lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close())",
        needs="vsock",
    ),
    Probe(
        "egress-hosts",
        ASK
        + """
for host in M['far']:
    if b' 200 ' in ask(f'CONNECT {host} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n'.encode()).partition(b'\\n')[0]:
        reached(host)
""",
        control="open",
    ),
    Probe(
        "egress-metadata",
        ASK
        + """
for host in M['metadata']:
    if b' 200 ' in ask(f'CONNECT {host} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n'.encode()).partition(b'\\n')[0]:
        reached(host)
    if b'hello' in ask(f'GET http://{host}/latest/meta-data/ HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n'.encode()):
        reached(host)
""",
        control="open",
    ),
    Probe(
        "egress-requests",
        ASK
        + """
near, far = f"127.0.0.1:{M['allowed']}", f"127.0.0.1:{M['forbidden']}"
get = f'GET http://{far}/ HTTP/1.1\\r\\nHost: {near}\\r\\n\\r\\n'
asks = [
    get,
    f'GET http://{near}@{far}/ HTTP/1.1\\r\\nHost: {near}\\r\\n\\r\\n',
    f'GET http://{near}#@{far}/ HTTP/1.1\\r\\nHost: {far}\\r\\n\\r\\n',
    f'GET http://{far}\\0.{near}/ HTTP/1.1\\r\\nHost: {near}\\r\\n\\r\\n',
    f'GET / HTTP/1.1\\r\\nHost: {far}\\r\\n\\r\\n',
    f'GET http://{near}/ HTTP/1.1\\r\\nHost: {far}\\r\\n\\r\\n{get}',
    f'POST http://{near}/ HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\n'
    f'Transfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n{get}',
    f'POST http://{near}/ HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 4\\r\\nContent-Length: 0\\r\\n\\r\\n{get}',
    f'GET http://{near}/ HTTP/1.1\\nHost: x\\n\\n{get}',
    f'CONNECT {near} HTTP/1.1\\r\\nHost: {far}\\r\\n\\r\\n{get}',
    f'CONNECT {far}\\r\\nX: {near} HTTP/1.1\\r\\n\\r\\n',
    f'CONNECT {near},{far} HTTP/1.1\\r\\n\\r\\n',
]
for data in asks:
    ask(data.encode())
""",
        control="open",
    ),
)  # fmt: skip
