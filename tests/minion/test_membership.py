"""Which HQ was joined: addresses that are one, tokens that nobody sees, a file that only its owner reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from minion.config import Home
from minion.hq.membership import (
    Membership,
    end_membership,
    file_of,
    good_token,
    good_url,
    keep_membership,
    membership_of,
)
from server.contract.refusals import BadDocument, BadUse

TOKEN = "hq_minion_" + "A" * 43


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("http://127.0.0.1:7717", "http://127.0.0.1:7717"), ("http://localhost:7717/", "http://localhost:7717"),
        ("https://hq.example.com", "https://hq.example.com"), ("http://[::1]:80", "http://[::1]:80"),
        (" https://HQ.example.com:8443 ", "https://hq.example.com:8443"),
    ],
)  # fmt: skip
def test_an_address_is_scheme_host_and_port(said: str, meant: str) -> None:
    assert good_url(said) == meant


@pytest.mark.parametrize(
    "said",
    ["", "hq.example.com", "ftp://x", "https://", "https://u:p@h", "https://h/mcp", "https://h?x=1", "https://h#a",
     "https://h:0", "https://h:99999", "https://[::1", 7, "http://"],
)  # fmt: skip
def test_what_is_no_address_is_bad_use(said: object) -> None:
    with pytest.raises(BadUse) as caught:
        good_url(said)
    assert caught.value.code == "bad_hq_url"


@pytest.mark.promise("JOI-2")
def test_a_token_goes_without_tls_to_this_machine_alone() -> None:
    with pytest.raises(BadUse) as caught:
        good_url("http://hq.example.com:7717")
    assert caught.value.code == "plain_http"
    assert "ssh" in caught.value.hint


@pytest.mark.parametrize("said", ["", "short", "with blank inside it, and long", "x" * 201, None])
def test_what_cannot_be_a_token_is_bad_use(said: object) -> None:
    with pytest.raises(BadUse) as caught:
        good_token(said)
    assert caught.value.code == "bad_hq_token"


@pytest.mark.promise("JOI-2")
def test_a_membership_is_kept_for_its_owner_alone_and_shows_no_token(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert membership_of(home) is None
    keep_membership(home, Membership("http://127.0.0.1:1", TOKEN))
    found = membership_of(home)
    assert found is not None
    assert (found.url, found.token) == ("http://127.0.0.1:1", TOKEN)
    assert file_of(home).stat().st_mode & 0o777 == 0o600
    assert TOKEN not in repr(found)
    end_membership(home)
    assert membership_of(home) is None
    end_membership(home)


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"url": "http://h", "token": "t"}', "\xff"])
def test_a_broken_file_says_how_to_join_again(tmp_path: Path, body: str) -> None:
    home = Home(tmp_path)
    file_of(home).write_text(body, encoding="latin-1")
    with pytest.raises(BadDocument) as caught:
        membership_of(home)
    assert caught.value.code == "bad_membership"
    assert "minion join" in caught.value.hint
