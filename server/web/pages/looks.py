"""What the pages look like: sign in, what waits, one decision, and what is said where something is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from server.contract.digest import parse_instant
from server.contract.refusals import Refusal
from server.domain.consequence import NONE, by_urgency
from server.domain.decision import in_words
from server.domain.legible import DEEPEST, ago, one_line, parts_of
from server.storage.access_store import Caller
from server.web.pages.markup import Html, joined, tag

STYLE: Final = Html(Path(__file__).with_name("style.css").read_text(encoding="utf-8"))
_STYLE_DIGEST: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
LONGEST_REASON: Final = 4096
_LONGEST_LINE: Final = 240
_BUTTONS: Final = {"approve": ("Approve", "yes"), "changes": ("Send back", "back"), "reject": ("Reject", "no")}


def sign_in_page(*, after: str = "", refused: Refusal | None = None, note: str = "", elsewhere: str = "") -> Html:
    """The form of a token; `after` is the decision to go on to, `elsewhere` the page to ask for once more.

    A browser that comes from another site sends no cookie of ours; asked from here, it does.
    """
    form = tag(
        "form",
        tag("p", tag("label", "Your token", for_="token")),
        tag("input", id="token", name="token", type="password", required=True, autocomplete="current-password",
            spellcheck="false", autocapitalize="off"),
        tag("input", type="hidden", name="after", value=after) if after else Html(),
        tag("p", tag("button", "Sign in", class_="yes"), class_="answers"),
        tag("p", "One of scope reviewer or admin: ", tag("code", "hq token create --scope reviewer --name YOU"),
            " makes it. You stay signed in for 30 minutes after your last click.", class_="quiet"),
        tag("p", "Without a token: ", tag("code", "hq inbox --link"),
            " prints a link that signs you in once, at a terminal of HQ's machine.", class_="quiet"),
        method="post", action="/sign-in", class_="card",
    )  # fmt: skip
    again = Html()
    if elsewhere:
        again = tag("p", "Signed in already? ", tag("a", "Open the page", href=elsewhere), ".", class_="quiet")
    said = tag("div", tag("p", note), class_="notice", role="status") if note else Html()
    inside = joined(tag("h1", "Sign in to decide"), said, _notice(refused), form, again)
    return _page("Sign in", inside)


def link_page(code: str, person: str) -> Html:
    """The one button that signs a person in by a link; to open the page does nothing."""
    form = tag(
        "form",
        tag("p", "You are about to sign in as ", tag("strong", person), "."),
        tag("input", type="hidden", name="code", value=code),
        tag("p", tag("button", "Sign in", class_="yes"), class_="answers"),
        tag("p", "The link is good once, for ten minutes after it was made. You stay signed in for 30 minutes "
            "after your last click.", class_="quiet"),
        method="post", action="/sign-in/link", class_="card",
    )  # fmt: skip
    return _page("Sign in", joined(tag("h1", "Sign in to decide"), form))


def list_page(
    waiting: Sequence[Mapping[str, Any]], over: Sequence[Mapping[str, Any]], *, more: bool, who: Caller, form: str,
    now: datetime,
) -> Html:  # fmt: skip
    """What waits, the urgent first, and what was answered lately; `more` says that not all of it is here."""
    count = f"{len(waiting)}{' or more' if more else ''} wait for a decision" if len(waiting) != 1 else (
        "1 decision waits")  # fmt: skip
    inside = [tag("h1", count if waiting else "Nothing waits for a decision")]
    for words, group in by_urgency(waiting):
        inside.append(tag("h2", words))
        inside.append(tag("ul", *(tag("li", _card(said, now)) for said in group), class_="waiting"))
    if more:
        inside.append(tag("p", "The oldest are shown; the next follow as these are answered.", class_="quiet"))
    if over:
        rows = (tag("li", _card(said, now)) for said in over)
        inside += [tag("h2", "Lately decided"), tag("ul", *rows, class_="waiting")]
    return _page("Decisions", joined(*inside), who=who, form=form)


def decision_page(
    said: Mapping[str, Any], digest: str, *, who: Caller, form: str, now: datetime, why: str = "",
    refused: Refusal | None = None,
) -> Html:  # fmt: skip
    """A decision whole, and the form to answer it while it can be; `digest` is that of what is shown here."""
    asked = (f"{said['kind']} · asked ", _moment(said["asked_at"], now), f" by {said['asked_by']}")
    until = (" · until ", _moment(said["expires_at"])) if said["expires_at"] and said["state"] == "open" else ()
    inside = [
        tag("h1", "Decide" if said["state"] == "open" else "Decided"), _notice(refused), _outcome(said),
        tag("section", tag("p", *asked, *until, class_="quiet"), tag("pre", said["question"], class_="question"),
            class_="card"),
        _follows(said),
        tag("h2", "About"), tag("p", tag("code", said["subject"])),
        tag("h2", "Evidence"), _laid_out(said["evidence"]),
        tag("h2", "Digest of all this"), tag("p", tag("code", digest)),
    ]  # fmt: skip
    if said["state"] == "open" and digest == said["digest"]:
        inside.append(_answer_form(said, digest, form, why))
    elif said["state"] == "open" and refused is None:
        words = "This is not as it was asked: somebody changed it in the store. It cannot be answered."
        inside.append(tag("div", tag("p", words), class_="notice", role="alert", data_code="decision_altered"))
    inside.append(tag("p", tag("a", "All that waits", href="/decisions")))
    return _page("Decision", joined(*inside), who=who, form=form)


def refusal_page(refused: Refusal, *, who: Caller | None = None, form: str = "") -> Html:
    """Why something is not there, or was not done."""
    back = tag("p", tag("a", "All that waits", href="/decisions"))
    return _page("Refused", joined(tag("h1", "That did not work"), _notice(refused), back), who=who, form=form)


def _follows(said: Mapping[str, Any]) -> Html:
    """What a yes changes, and what may be done then: the two things to know before one gives it."""
    inside = []
    if said["changes"]:
        inside += [tag("h2", "What changes"), tag("ul", *(tag("li", each) for each in said["changes"]))]
    lines = (tag("li", each, class_=_look_of(each)) for each in said["permissions"])
    inside += [tag("h2", "Permissions beyond today's"), tag("ul", *lines, class_="permissions")]
    return tag("section", *inside, class_="follows")


def _look_of(permission: str) -> str:
    if permission.startswith("+"):
        return "more"
    return "fewer" if permission == NONE or permission.startswith("-") else "unsaid"


def _answer_form(said: Mapping[str, Any], digest: str, form: str, why: str) -> Html:
    given = ((value, *_BUTTONS[value]) for value in _BUTTONS if value in said["answers"])
    buttons = (tag("button", words, name="answer", value=value, class_=look) for value, words, look in given)
    kept = "Reason (kept with your answer)"
    if "changes" in said["answers"]:
        kept = "Reason (kept with your answer; whoever sends it back says what should be otherwise)"
    return tag(
        "form",
        tag("h2", "Your answer"),
        tag("div",
            tag("label", kept, for_="why"),
            tag("textarea", why, id="why", name="why", maxlength=str(LONGEST_REASON)),
            tag("input", type="hidden", name="digest", value=digest),
            tag("input", type="hidden", name="form", value=form),
            tag("div", *buttons, class_="answers"),
            tag("p", "It is given once, and is one to exactly what stands here.", class_="quiet"),
            class_="card"),
        method="post", action=f"/decisions/{said['id']}",
    )  # fmt: skip


def _outcome(said: Mapping[str, Any]) -> Html:
    """What became of a decision, by whom and when."""
    state = said["state"]
    if state == "open":
        return Html()
    words: tuple[str, ...] = ("Nobody answered in time: it expired ", _moment(said["expires_at"] or ""), ".")
    if state != "expired":
        name = said.get("answered_name")
        who = f"{name} ({said['answered_by']})" if name else said["answered_by"]
        words = (tag("strong", in_words(state).capitalize()), f" by {who}, ", _moment(said["answered_at"]), ".")
    why = tag("pre", said["why"]) if said.get("why") else Html()
    look = f"card outcome {state}"
    there = tag("p", said["carried_words"], class_="quiet") if "carried_words" in said else Html()
    return tag("section", tag("p", *words), why, there, class_=look, role="status")


def _card(said: Mapping[str, Any], now: datetime) -> Html:
    asked: tuple[str, ...] = (said["kind"], " · ", _moment(said["asked_at"], now))
    if said["state"] != "open":
        moment = _moment(said.get("answered_at") or said["asked_at"], now)
        asked = (tag("strong", in_words(said["state"]).capitalize()), " · ", said["kind"], " · ", moment)
    parts = [tag("span", one_line(said["question"], _LONGEST_LINE), class_="asked"),
             tag("span", *asked, class_="quiet")]  # fmt: skip
    if said["state"] == "open":
        allowed = one_line("; ".join(said["permissions"]), _LONGEST_LINE)
        parts.append(tag("span", "Permissions: ", allowed, class_=f"quiet {_look_of(said['permissions'][0])}"))
    return tag("a", *parts, href=f"/decisions/{said['id']}", class_="card")


def _laid_out(value: Any, depth: int = 0) -> Html:
    """A JSON value as people read it, part by part; nothing of it is left out."""
    if isinstance(value, list) and value and all(isinstance(each, str) and each.isprintable() for each in value):
        return tag("pre", "\n".join(value), class_="well")
    parts = parts_of(value) if depth < DEEPEST else None
    if parts is not None:
        rows = ((tag("dt", name), tag("dd", _laid_out(part, depth + 1))) for name, part in parts)
        return tag("dl", *(tag("div", *row) for row in rows))
    return tag("pre", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), class_="well")


def _moment(moment: str, now: datetime | None = None) -> Html:
    """An instant; with `now` how long ago it was, its time when pointed at."""
    if not moment:
        return Html()
    exact = f"{parse_instant(moment):%Y-%m-%d %H:%M} UTC"
    return tag("time", exact if now is None else ago(moment, now), datetime=moment, title=exact)


def _notice(refused: Refusal | None) -> Html:
    if refused is None:
        return Html()
    words = joined(tag("p", tag("strong", refused.sentence)), tag("p", f"Hint: {refused.hint}."))
    return tag("div", words, class_="notice", role="alert", data_code=refused.code)


def _page(title: str, inside: Html, *, who: Caller | None = None, form: str = "") -> Html:
    bar = [tag("a", "HQ · Decisions", href="/decisions")]
    if who is not None:
        out = (
            tag("span", f"{who.name} ({who.scope})"), tag("input", type="hidden", name="form", value=form),
            tag("button", "Sign out", class_="small"),
        )  # fmt: skip
        bar.append(tag("form", *out, method="post", action="/decisions/sign-out"))
    head = joined(
        tag("meta", charset="utf-8"), tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title} · HQ"), tag("style", STYLE),
    )  # fmt: skip
    body = tag("body", tag("header", *bar), tag("main", inside))
    return Html(f"<!doctype html>\n{tag('html', tag('head', head), body, lang='en')}\n")
