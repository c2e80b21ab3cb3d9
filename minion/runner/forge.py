"""Draft pull requests and comments on a forge that speaks GitHub's REST API, each read back after it is made."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from minion.runner.outbound import Answer, NoAnswer, NotSent, request
from server.contract.run import EffectState

_REMOTE: Final = re.compile(
    r"(?:https://|ssh://(?:[A-Za-z0-9._-]+@)?|[A-Za-z0-9._-]+@)(?P<host>[A-Za-z0-9.-]+)(?::[0-9]+)?[/:]"
    r"(?P<owner>[A-Za-z0-9][A-Za-z0-9-]{0,38})/(?P<name>[A-Za-z0-9._-]{1,100}?)(?:\.git)?/?"
)
_WORDS: Final = 200
# A page of comments, and how many of them are looked through.
_PAGE: Final = 100
_MOST_PAGES: Final = 30


@dataclass(frozen=True, slots=True)
class ForgeRepository:
    """A repository on a forge: the API it is reached by, `owner/name`, and the token's secret name."""

    api: str
    owner: str
    name: str
    secret: str

    @property
    def path(self) -> str:
        """The repository's URL in the API."""
        return f"{self.api}/repos/{self.owner}/{self.name}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls the forge: the token, and what takes secrets out of an answer before it is cut short."""

    token: str
    redact: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a pull request or comment; `url` is its page."""

    state: EffectState
    detail: str
    url: str | None = None


def forge_repository(url: str, forges: Mapping[str, str]) -> ForgeRepository | None:
    """The forge's repository behind a clone URL, None when its host is no forge of this minion."""
    match = _REMOTE.fullmatch(url)
    if match is None or match["host"] not in forges:
        return None
    api = forges[match["host"]].rstrip("/")
    return ForgeRepository(api, match["owner"], match["name"], f"{match['host']}_token")


async def open_pull_request(
    repository: ForgeRepository, caller: Caller, *, title: str, body: str, head: str, base: str
) -> Published:
    """Open a draft pull request from `head` into `base`; one that is open already is the answer, not a second."""
    return await asyncio.to_thread(_open_pull_request, repository, caller, title, body, head, base)


async def add_comment(
    repository: ForgeRepository, caller: Caller, *, number: int, body: str, mark: str
) -> Published:
    """Comment on an issue or pull request; `mark` is a text of this effect alone, by which it is found again."""
    return await asyncio.to_thread(_add_comment, repository, caller, number, body, mark)


async def find_pull_request(repository: ForgeRepository, caller: Caller, *, head: str, base: str) -> Published:
    """Whether a pull request from `head` into `base` is open: delivered, failed, or unknown."""
    return await asyncio.to_thread(_look, caller, lambda: _pull_request(repository, caller, head, base))


async def find_comment(repository: ForgeRepository, caller: Caller, *, number: int, mark: str) -> Published:
    """Whether the comment with this mark is there: delivered, failed, or unknown."""
    return await asyncio.to_thread(_look, caller, lambda: _comment(repository, caller, number, mark))


def _look(caller: Caller, standing: Callable[[], Any]) -> Published:
    try:
        found = standing()
    except (NotSent, NoAnswer, ValueError) as error:
        words = " ".join(caller.redact(str(error)).split())[:_WORDS]
        return Published("unknown", f"the forge could not be asked: {words or 'its answer is not understood'}")
    return _seen(found, "read back") if found is not None else Published("failed", "it is not there")


def _pull_request(repository: ForgeRepository, caller: Caller, head: str, base: str) -> Any:
    query = urllib.parse.urlencode({"state": "open", "head": f"{repository.owner}:{head}", "base": base})
    return next(iter(_list(_call("GET", f"{repository.path}/pulls?{query}", caller), caller)), None)


def _comment(repository: ForgeRepository, caller: Caller, number: int, mark: str) -> Any:
    """The comment with a mark; raises `ValueError` when there are too many comments to look through."""
    comments = f"{repository.path}/issues/{number}/comments"
    for page in range(1, _MOST_PAGES + 1):
        found = _list(_call("GET", f"{comments}?per_page={_PAGE}&page={page}", caller), caller)
        mine = next((item for item in found if isinstance(item, dict) and mark in str(item.get("body"))), None)
        if mine is not None or len(found) < _PAGE:
            return mine
    raise ValueError(f"there are over {_PAGE * _MOST_PAGES} comments")


def _open_pull_request(
    repository: ForgeRepository, caller: Caller, title: str, body: str, head: str, base: str
) -> Published:
    wish = {"title": title, "body": body, "head": head, "base": base, "draft": True}
    return _publish(
        f"{repository.path}/pulls", caller, wish, lambda: _pull_request(repository, caller, head, base),
        "it was open already",
    )  # fmt: skip


def _add_comment(repository: ForgeRepository, caller: Caller, number: int, body: str, mark: str) -> Published:
    wish = {"body": f"{body}\n\n<!-- {mark} -->"}
    return _publish(
        f"{repository.path}/issues/{number}/comments", caller, wish,
        lambda: _comment(repository, caller, number, mark), "it was there already",
    )  # fmt: skip


def _publish(url: str, caller: Caller, wish: Mapping[str, Any], standing: Any, already: str) -> Published:
    """Look, make, look again: the read-back decides, whatever the answer to the making was."""
    sent = False
    try:
        before = standing()
        if before is not None:
            return _seen(before, already)
        try:
            made = _call("POST", url, caller, wish)
            sent = True
        except NoAnswer:
            sent, made = True, None
        after = _read_back(made, url, caller) or standing()
    except NotSent as error:
        return Published("unknown" if sent else "failed", str(error))
    except (NoAnswer, ValueError) as error:
        return Published("unknown" if sent else "failed", str(error) or "the forge's answer is not understood")
    if after is not None:
        return _seen(after, "read back")
    if made is None:
        return Published("unknown", "no answer, and the read-back does not show it")
    words = " ".join(caller.redact(made.text).split())[:_WORDS]
    state: EffectState = "accepted" if 200 <= made.status < 300 else "failed"
    return Published(state, f"HTTP {made.status} {words}".strip())


def _read_back(made: Answer | None, asked: str, caller: Caller) -> Any:
    """The made thing by its own URL, where the forge named one of its own; None when it did not."""
    if made is None or made.status != 201:
        return None
    item = json.loads(made.text)
    url = item.get("url") if isinstance(item, dict) else None
    api = asked.partition("/repos/")[0]
    # The token goes to the API it belongs to and nowhere else, whatever the answer says.
    if not isinstance(url, str) or not url.startswith(f"{api}/repos/"):
        return None
    return _json(_call("GET", url, caller), caller)


def _seen(item: Any, detail: str) -> Published:
    url = item.get("html_url") if isinstance(item, dict) else None
    return Published("delivered", detail, url if isinstance(url, str) else None)


def _call(method: str, url: str, caller: Caller, body: Mapping[str, Any] | None = None) -> Answer:
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {caller.token}",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    sent = json.dumps(body).encode() if body is not None else None
    if sent is not None:
        headers["Content-Type"] = "application/json"
    return request(method, url, body=sent, headers=headers)


def _json(answer: Answer, caller: Caller) -> Any:
    if answer.status != 200:
        words = " ".join(caller.redact(answer.text).split())[:_WORDS]
        raise ValueError(f"HTTP {answer.status} {words}".strip())
    return json.loads(answer.text)


def _list(answer: Answer, caller: Caller) -> list[Any]:
    found = _json(answer, caller)
    if not isinstance(found, list):
        raise ValueError("the forge's answer is no list")
    return found
