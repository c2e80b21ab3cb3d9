"""Draft pull requests and comments: made once, read back, and honest about what nobody can know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from minion.runner.effect_rules import comment_target, is_allowed
from minion.runner.forge import (
    Caller,
    ForgeRepository,
    Published,
    add_comment,
    forge_repository,
    open_pull_request,
)
from server.contract.redaction import Redactor
from tests.minion.forge_server import Forge, forge

CALLER = Caller("t0ken-of-the-forge", Redactor(["t0ken-of-the-forge"]).text)
FORGES = {"github.com": "https://api.github.com", "git.acme.test": "https://git.acme.test/api/v3/"}


@pytest.fixture
def server() -> Iterator[Forge]:
    with forge() as running:
        yield running


def pull_request(server: Forge) -> Published:
    shop = ForgeRepository(server.api, "acme", "shop", "github.com_token")
    work = open_pull_request(shop, CALLER, title="Fix it", body="As asked.", head="claude/fix", base="main")
    return asyncio.run(work)


def comment(server: Forge) -> Published:
    shop = ForgeRepository(server.api, "acme", "shop", "github.com_token")
    return asyncio.run(add_comment(shop, CALLER, number=7, body="Seen.", mark="minion effect eff_1"))


def test_a_pull_request_is_a_draft_and_delivered_once_it_is_read_back(server: Forge) -> None:
    done = pull_request(server)
    assert (done.state, done.detail) == ("delivered", "read back")
    (made,) = server.made
    assert (made["draft"], made["head"], made["base"], made["title"]) == (True, "claude/fix", "main", "Fix it")
    assert done.url == made["html_url"]
    assert {token for _, _, token in server.seen} == {"Bearer t0ken-of-the-forge"}


def test_a_pull_request_that_is_open_already_is_not_opened_twice(server: Forge) -> None:
    first, second = pull_request(server), pull_request(server)
    assert (second.state, second.detail, second.url) == ("delivered", "it was open already", first.url)
    assert len(server.made) == 1


def test_an_answer_that_was_lost_is_settled_by_the_read_back(server: Forge) -> None:
    server.mood = "dropping after"
    done = pull_request(server)
    assert (done.state, len(server.made)) == ("delivered", 1)


def test_a_lost_request_that_the_forge_does_not_show_is_unknown(server: Forge) -> None:
    server.mood = "dropping before"
    assert pull_request(server).state == "unknown"
    assert comment(server).state == "unknown"


def test_a_refusal_of_the_forge_is_a_failure_in_its_own_words(server: Forge) -> None:
    server.mood = "refusing"
    done = pull_request(server)
    assert done.state == "failed"
    assert "HTTP 422" in done.detail
    assert "Validation Failed" in done.detail
    assert "t0ken" not in done.detail


def test_a_forge_that_cannot_be_looked_at_first_is_not_written_to(server: Forge) -> None:
    server.mood = "blind"
    done = pull_request(server)
    assert done.state == "failed"
    assert server.made == []


def test_the_token_never_follows_an_address_that_an_answer_names(server: Forge) -> None:
    server.mood = "astray"
    assert pull_request(server).state == "delivered"
    assert [path.partition("?")[0] for _, path, _ in server.seen] == ["/repos/acme/shop/pulls"] * 3


def test_a_comment_among_many_is_read_back_by_its_own_address(server: Forge) -> None:
    comment(server)
    assert server.seen[-1][1] == "/repos/acme/shop/made/1"


def test_a_forge_that_is_not_there_is_a_failure() -> None:
    with forge() as gone:
        pass
    assert pull_request(gone).state == "failed"


def test_a_comment_carries_the_mark_by_which_it_is_found_again(server: Forge) -> None:
    first, second = comment(server), comment(server)
    assert [first.state, second.state] == ["delivered", "delivered"]
    (made,) = server.made
    assert made["path"] == "/repos/acme/shop/issues/7/comments"
    assert made["body"] == "Seen.\n\n<!-- minion effect eff_1 -->"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/acme/shop.git", "shop"),
        ("https://github.com/acme/shop", "shop"),
        ("git@github.com:acme/shop.git", "shop"),
        ("ssh://git@github.com/acme/shop.js", "shop.js"),
        ("ssh://git@github.com:22/acme/shop", "shop"),
    ],
)
def test_a_clone_url_names_its_forge_owner_and_repository(url: str, name: str) -> None:
    found = forge_repository(url, FORGES)
    assert found is not None
    assert (found.owner, found.name, found.secret) == ("acme", name, "github.com_token")
    assert found.path == f"https://api.github.com/repos/acme/{name}"


def test_an_own_forge_is_reached_by_its_own_api() -> None:
    found = forge_repository("git@git.acme.test:team/api.git", FORGES)
    assert found is not None
    assert found.path == "https://git.acme.test/api/v3/repos/team/api"
    assert found.secret == "git.acme.test_token"


@pytest.mark.parametrize(
    "url",
    [
        "/home/me/shop",
        "https://evil.test/acme/shop",
        "https://github.com.evil.test/acme/shop",
        "https://github.com/acme/shop/../../x",
        "https://github.com@evil.test/acme/shop",
    ],
)
def test_a_url_of_no_forge_of_ours_never_gets_a_token(url: str) -> None:
    assert forge_repository(url, FORGES) is None


def test_pull_requests_and_comments_are_allowed_by_repository() -> None:
    assert is_allowed(["pull_request:shop"], "pull_request", "shop:claude/fix")
    assert is_allowed(["comment:*"], "comment", "shop#7")
    assert not is_allowed(["pull_request:shop"], "pull_request", "api:claude/fix")
    assert not is_allowed(["comment:shop"], "pull_request", "shop:claude/fix")


@pytest.mark.parametrize("target", ["shop", "shop#", "shop#0", "shop#x", "#7", "shop#7#8", "a/b#1"])
def test_a_comment_needs_a_repository_and_a_number(target: str) -> None:
    assert comment_target(target) is None
    assert comment_target("shop#7") == ("shop", 7)
