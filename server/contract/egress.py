"""Which hosts a session may reach: patterns as people list them, the trusted list, and what an address is.

Nothing is looked up here. Whoever connects asks twice: for the name that was asked for, and for each address
that the name leads to (a public name may lead into a private network).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address

DEFAULT_PORTS: Final = (443, 80)
LONGEST_HOST: Final = 253
MOST_PATTERNS: Final = 100

TRUSTED_AS_OF: Final = "2026-11-22"
# Where coding work gets packages and sources from. Each of them takes anybody's content, and some take uploads:
# what a session knows can leave by them. No model's API is among them: sessions have no key to use there.
TRUSTED: Final = (
    # Python
    "pypi.org", "files.pythonhosted.org", "conda.anaconda.org", "repo.anaconda.com",
    # JavaScript
    "registry.npmjs.org", "registry.yarnpkg.com", "nodejs.org", "jsr.io", "npm.jsr.io",
    # Rust
    "crates.io", "index.crates.io", "static.crates.io", "static.rust-lang.org",
    # Go
    "proxy.golang.org", "sum.golang.org", "go.dev", "dl.google.com",
    # Java
    "repo.maven.apache.org", "repo1.maven.org", "plugins.gradle.org", "services.gradle.org",
    # Ruby, PHP, .NET, Elixir
    "rubygems.org", "index.rubygems.org", "packagist.org", "repo.packagist.org", "api.nuget.org", "hex.pm",
    "repo.hex.pm",
    # Sources
    "github.com", "api.github.com", "codeload.github.com", "objects.githubusercontent.com",
    "raw.githubusercontent.com", "release-assets.githubusercontent.com", "gitlab.com", "bitbucket.org",
    # Systems
    "deb.debian.org", "security.debian.org", "archive.ubuntu.com", "security.ubuntu.com", "ports.ubuntu.com",
    "dl-cdn.alpinelinux.org",
)  # fmt: skip

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A last label of this kind makes other programs read the whole as an IPv4 address: 127.1, 2130706433, 0x7f.1.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_AUTHORITY: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([1-9][0-9]{0,4}))?")

_PRIVATE: Final = "a private address"
_HERE: Final = "an address of this machine"
_LINK: Final = "a link-local address"
# What is not public, by the registries of IANA (RFC 6890 and its updates); the first that holds an address counts.
_KINDS: Final = tuple(
    (ip_network(network), kind)
    for kind, networks in (
        (_HERE, ("127.0.0.0/8", "::1/128", "0.0.0.0/32", "::/128")),
        (_PRIVATE, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10")),
        # The last one is the inside of a cloud's hosts, though it looks public.
        (_LINK, ("169.254.0.0/16", "fe80::/10", "168.63.129.16/32")),
        ("a multicast address", ("224.0.0.0/4", "ff00::/8")),
        (
            "a reserved address",
            (
                "0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
                "203.0.113.0/24", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "3fff::/20",
            ),
        ),
    )
    for network in networks
)  # fmt: skip
_GLOBAL: Final = IPv6Network("2000::/3")
# IPv6 networks whose addresses carry an IPv4 address, and how many bits follow it.
_CARRIERS: Final = (
    (IPv6Network("::ffff:0:0/96"), 0), (IPv6Network("64:ff9b::/96"), 0), (IPv6Network("2002::/16"), 80),
    (IPv6Network("::/96"), 0), (IPv6Network("::ffff:0:0:0/96"), 0),
)  # fmt: skip


class BadHost(ValueError):
    """A text that is no host, or no host with a port; its words follow the text in a sentence."""


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A host that may be reached: a name, an address, or with `below` every name under it; and its ports."""

    host: str
    below: bool
    ports: tuple[int, ...]

    def holds(self, host: str, port: int) -> bool:
        """Whether a host, spelled as `host_of` gives it, is meant."""
        named = host.endswith(f".{self.host}") if self.below else host == self.host
        return named and port in self.ports

    def __str__(self) -> str:
        """The pattern as it is written, with the host in its one spelling."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.ports == DEFAULT_PORTS else f":{self.ports[0]}"
        return f"{'*.' if self.below else ''}{host}{port}"


@dataclass(frozen=True, slots=True)
class Egress:
    """What a routine's `environment.network` lets a session reach, unless it is `none`."""

    policy: str
    patterns: tuple[HostPattern, ...]

    @classmethod
    def of(cls, network: str | Sequence[str]) -> Egress | None:
        """The rule of a routine's network; None when there is none to reach. Raises `BadHost`."""
        if network == "none":
            return None
        if isinstance(network, str) and network not in ("trusted", "full"):
            raise BadHost("is no rule for the network")
        listed = TRUSTED if network == "trusted" else () if isinstance(network, str) else network
        policy = network if isinstance(network, str) else "list"
        return cls(policy, tuple(pattern_of(text) for text in listed))

    def why_not(self, host: str, port: int) -> str | None:
        """Why a host may not be reached, by its name alone: words that follow it. None when it may.

        `host` is spelled as `host_of` gives it. That of an address is the whole answer.
        """
        address = address_of(host)
        if address is not None and self.policy == "full":
            return self.why_not_address(host, port, address)
        if self.policy == "full" and not _is_local_name(host):
            return None
        # A wildcard does not open this machine: a name below `localhost` must be listed by itself.
        listed = self._lists(host, port) if _is_local_name(host) else self._matches(host, port)
        if listed:
            return None
        if self.policy == "full":
            return "is this machine, which no session may reach"
        # What the file lists for it, other than in the pattern's default ports.
        if any(self._matches(host, other) for pattern in self.patterns for other in pattern.ports):
            return f"may not be reached at port {port}"
        where = "the trusted list" if self.policy == "trusted" else "the routine's list"
        return f"is not on {where} (environment.network)"

    def why_not_address(self, host: str, port: int, address: Address) -> str | None:
        """Why a host may not be reached at an address that its name leads to; None when it may.

        A name that is listed by itself may lead into a private network. To this machine, a link-local address (a
        cloud's metadata) and the like only the address's own line leads: a name's owner decides where it points.
        """
        address = carried(address) if isinstance(address, IPv6Address) and address.ipv4_mapped else address
        kind = kind_of(address)
        if kind is None or self._lists(str(address), port):
            return None
        if self._lists(host, port) and (kind == _PRIVATE or (host == "localhost" and kind == _HERE)):
            return None
        leads = "is" if host == str(address) else f"leads to {address},"
        return f"{leads} {kind}"

    def lists_address(self, address: Address, port: int) -> bool:
        """Whether an address itself, and not only a name that leads to it, is listed."""
        return self._lists(str(address), port)

    def _lists(self, host: str, port: int) -> bool:
        return any(not pattern.below and pattern.holds(host, port) for pattern in self.patterns)

    def _matches(self, host: str, port: int) -> bool:
        return any(pattern.holds(host, port) for pattern in self.patterns)


def host_of(text: str) -> str:
    """A host in its one spelling: a name in small letters without a last dot, or an address without brackets.

    Raises `BadHost` for all else, above all for what two programs may read differently.
    """
    if not text.isascii() or not text.isprintable() or set(text) & set(" #@%/\\?"):
        raise BadHost("has signs in it that no host has")
    if text.startswith("[") and text.endswith("]"):
        return _ipv6(text[1:-1])
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise BadHost("is no address as it is usually written") from None
    if len(name) > LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadHost("is no host name")
    return name


def authority_of(text: str, default_port: int | None = None) -> tuple[str, int]:
    """The host and port of `host:port`; the port may lack where there is a default. Raises `BadHost`."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise BadHost("is no host with a port")
    host = host_of(found[1])
    port = int(found[2]) if found[2] else default_port
    if port is None or port > 65_535:
        raise BadHost("has no port from 1 to 65535")
    return host, port


def pattern_of(text: str) -> HostPattern:
    """The pattern on a routine's list: `example.com`, `*.example.com`, an address; each with `:port` or without.

    Raises `BadHost`.
    """
    below = text.startswith("*.")
    rest = text[2:] if below else text
    if "*" in rest:
        raise BadHost("has a `*` that does not stand for all names below a host")
    bare = rest.count(":") > 1 and not rest.startswith("[")
    host, port = authority_of(f"[{rest}]" if bare else rest, default_port=0)
    if below and ("." not in host or address_of(host) is not None):
        raise BadHost("opens more than the names below one host")
    return HostPattern(host, below, (port,) if port else DEFAULT_PORTS)


def address_of(host: str) -> Address | None:
    """The address that a host, spelled as `host_of` gives it, is; None when it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def kind_of(address: Address) -> str | None:
    """What an address is when it is not one of the public internet: words such as `a private address`."""
    for network, kind in _KINDS:
        if address in network:
            return kind
    if isinstance(address, IPv4Address):
        return None
    if any(address in network for network, _ in _CARRIERS):
        return kind_of(carried(address))
    return None if address in _GLOBAL else "a reserved address"


def carried(address: IPv6Address) -> IPv4Address:
    """The IPv4 address that one of IPv6 carries (mapped, 6to4, NAT64, compatible)."""
    after = next(bits for network, bits in _CARRIERS if address in network)
    return IPv4Address(int(address) >> after & 0xFFFF_FFFF)


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise BadHost("is no address as it is usually written") from None
    return str(address.ipv4_mapped or address)


def _is_local_name(host: str) -> bool:
    return host == "localhost" or host.endswith((".localhost", ".localdomain"))
