"""Which hosts a routine's network lets a session reach, by name and by where a name leads."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from server.contract.egress import (
    TRUSTED,
    TRUSTED_AS_OF,
    BadHost,
    Egress,
    authority_of,
    host_of,
    kind_of,
    pattern_of,
)


def rule(*patterns: str) -> Egress:
    """The rule of a list."""
    found = Egress.of(patterns)
    assert found is not None
    return found


def allowed(egress: Egress, host: str, port: int = 443, *addresses: str) -> bool:
    """Whether a host may be reached by its name, at all of these addresses."""
    leads = [egress.why_not_address(host, port, ip_address(address)) for address in addresses]
    return egress.why_not(host, port) is None and not any(leads)


def test_with_none_there_is_no_rule_because_there_is_no_network() -> None:
    assert Egress.of("none") is None


@pytest.mark.parametrize("word", ["all", "", "pypi.org", "None"])
def test_another_word_is_no_rule(word: str) -> None:
    with pytest.raises(BadHost):
        Egress.of(word)


def test_a_name_on_the_list_is_reached_at_443_and_80_and_nowhere_else() -> None:
    egress = rule("example.com")
    assert [allowed(egress, "example.com", port) for port in (443, 80, 22, 8443)] == [True, True, False, False]
    assert egress.why_not("example.com", 22) == "may not be reached at port 22"
    assert not allowed(egress, "www.example.com")
    assert not allowed(egress, "notexample.com")
    assert not allowed(egress, "example.com.evil.test")
    assert not allowed(egress, "93.184.216.34")


def test_a_port_of_its_own_takes_the_place_of_the_usual_two() -> None:
    egress = rule("example.com:8443")
    assert [allowed(egress, "example.com", port) for port in (8443, 443)] == [True, False]


def test_a_wildcard_means_every_name_below_and_not_the_name_itself() -> None:
    egress = rule("*.example.com")
    assert allowed(egress, "a.example.com")
    assert allowed(egress, "a.b.example.com")
    assert not allowed(egress, "example.com")
    assert not allowed(egress, "aexample.com")


@pytest.mark.parametrize(
    ("pattern", "written"),
    [
        ("Example.COM.", "example.com"),
        ("*.Example.com:8443", "*.example.com:8443"),
        ("2001:DB8:0::7", "[2001:db8::7]"),
        ("[2001:db8::7]:8443", "[2001:db8::7]:8443"),
        ("[::ffff:10.0.0.1]", "10.0.0.1"),
        ("10.0.0.1:9000", "10.0.0.1:9000"),
        ("localhost:3000", "localhost:3000"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_a_pattern_has_one_spelling_which_is_taken_again(pattern: str, written: str) -> None:
    assert str(pattern_of(pattern)) == written
    assert pattern_of(written) == pattern_of(pattern)


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "*.", "*.com", "*.10.0.0.1", "a.*.com", "**.a.com", "a*.b.com", "https://a.com", "a.com/",
        "a.com:0",
        "a.com:65536", "a.com:http", "a.com:", "a b.com", "a.com#b", "me@a.com", "bücher.de", "a..com", ".a.com",
        "-a.com", "a-.com", "a.com..", "[a.com]", "[::1", "::1%lo", "127.1", "0x7f.1", "2130706433", "0177.0.0.1",
        "1.2.3.4.5", "1.2.3", "a" * 64 + ".com", "a." * 127 + "com", "a.com\n", "\0", "a.0x", "300.1.1.1",
    ],
)  # fmt: skip
def test_what_is_no_host_is_no_pattern(text: str) -> None:
    with pytest.raises(BadHost):
        pattern_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "a.com\0.evil.test", "a.com#.evil.test", "a@b.com", "a.com%2eevil.test", "a.com ", " a.com",
        "a.com\t", "a\r\nb",
        "2130706433", "0x7f000001", "0x7f.0x1", "127.1", "0177.0.0.1", "127.0.0.01", "1.0x10", "a/b",
        "a\\b", "a?b",
        "ⓔxample.com", "example。com", "[::1", "[fe80::1%eth0]", "[::]x", "a" * 254, "..", ".",
    ],
)  # fmt: skip
def test_what_two_programs_may_read_differently_is_no_host(text: str) -> None:
    with pytest.raises(BadHost):
        host_of(text)


def test_a_host_has_one_spelling() -> None:
    texts = ("EXAMPLE.com", "example.com.", "[0:0::1]", "[::FFFF:1.2.3.4]", "1.2.3.4.")
    assert [host_of(text) for text in texts] == ["example.com", "example.com", "::1", "1.2.3.4", "1.2.3.4"]


@pytest.mark.parametrize("text", ["a.com", "a.com:", "a.com:0", "a.com:65536", "a.com:080", "a.com:+80", "::1:80"])
def test_a_tunnel_names_its_port(text: str) -> None:
    with pytest.raises(BadHost):
        authority_of(text)
    assert authority_of("[::1]:65535") == ("::1", 65535)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "this machine"), ("127.255.255.254", "this machine"), ("0.0.0.0", "this machine"),
        ("::1", "this machine"), ("::", "this machine"), ("::ffff:127.0.0.1", "this machine"),
        ("::127.0.0.1", "this machine"), ("::ffff:0:127.0.0.1", "this machine"), ("64:ff9b::7f00:1",
        "this machine"),
        ("2002:7f00:1::", "this machine"), ("10.1.2.3", "private"), ("172.16.0.1", "private"),
        ("172.31.255.255", "private"), ("192.168.1.1", "private"), ("100.64.0.1", "private"),
        ("100.127.255.255", "private"), ("fd00:ec2::254", "private"), ("fec0::1", "private"),
        ("64:ff9b::a00:1", "private"), ("2002:a00:1::1", "private"), ("::ffff:192.168.0.1", "private"),
        ("169.254.169.254", "link-local"), ("fe80::1", "link-local"), ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::a9fe:a9fe", "link-local"), ("168.63.129.16", "link-local"), ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"), ("0.1.2.3", "reserved"), ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"), ("192.0.2.1", "reserved"), ("198.18.0.1", "reserved"),
        ("2001:db8::1", "reserved"), ("2001::1", "reserved"), ("64:ff9b:1::1", "reserved"), ("100::1", "reserved"),
        ("4000::1", "reserved"),
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_known_in_every_disguise(address: str, kind: str) -> None:
    assert kind in (kind_of(ip_address(address)) or "")
    for policy in ("full", "trusted", ["*.example.com"]):
        egress = Egress.of(policy)
        assert egress is not None
        assert egress.why_not_address("a.example.com", 443, ip_address(address)) is not None
    assert not allowed(Egress.of("full") or rule(), host_of(f"[{address}]" if ":" in address else address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1", "64:ff9b::101:101", "2002:101:101::1"]
)
def test_a_public_address_is_reached_with_full(address: str) -> None:
    egress = Egress.of("full")
    assert egress is not None
    assert kind_of(ip_address(address)) is None
    assert allowed(egress, host_of(f"[{address}]" if ":" in address else address), 22, address)
    assert allowed(egress, "anything.example", 6000, address)


def test_a_listed_name_may_lead_into_a_private_network_and_a_wildcard_may_not() -> None:
    egress = rule("intranet.example.com", "*.example.com")
    assert allowed(egress, "intranet.example.com", 443, "10.0.0.5", "fd00::5")
    assert not allowed(egress, "other.example.com", 443, "10.0.0.5")
    assert not allowed(egress, "other.example.com", 443, "1.1.1.1", "10.0.0.5")


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1", "224.0.0.1"])
def test_the_owner_of_a_listed_name_cannot_lead_to_this_machine_or_a_cloud_s_metadata(address: str) -> None:
    assert not allowed(rule("api.example.com"), "api.example.com", 443, address)
    with_the_address = rule("api.example.com", f"[{address}]" if ":" in address else address)
    assert allowed(with_the_address, "api.example.com", 443, address)


def test_this_machine_is_reached_by_the_line_that_names_it() -> None:
    assert allowed(rule("127.0.0.1:8080"), "127.0.0.1", 8080, "127.0.0.1")
    assert not allowed(rule("127.0.0.1:8080"), "127.0.0.1", 8081, "127.0.0.1")
    assert not allowed(rule("127.0.0.1:8080"), "127.0.0.2", 8080, "127.0.0.2")
    assert allowed(rule("localhost:8080"), "localhost", 8080, "127.0.0.1", "::1")
    full = Egress.of("full")
    assert full is not None
    for name in ("localhost", "a.localhost", "localhost.localdomain"):
        assert full.why_not(name, 80) == "is this machine, which no session may reach"
    assert not allowed(rule("*.sub.localhost"), "a.sub.localhost")


def test_the_trusted_list_is_dated_and_holds_registries_and_sources_but_no_model_s_api() -> None:
    trusted = Egress.of("trusted")
    assert trusted is not None
    assert TRUSTED_AS_OF.startswith("20")
    for host in (
        "pypi.org", "files.pythonhosted.org", "registry.npmjs.org", "static.crates.io", "proxy.golang.org",
        "github.com", "codeload.github.com", "objects.githubusercontent.com", "gitlab.com", "bitbucket.org",
        "deb.debian.org", "archive.ubuntu.com",
    ):  # fmt: skip
        assert allowed(trusted, host)
        assert not allowed(trusted, host, 22)
    assert not [host for host in TRUSTED if "anthropic" in host or "*" in host]
    assert len(set(TRUSTED)) == len(TRUSTED)
    assert trusted.why_not("example.com", 443) == "is not on the trusted list (environment.network)"
    assert not allowed(trusted, "pypi.org", 443, "10.0.0.1", "169.254.169.254")
