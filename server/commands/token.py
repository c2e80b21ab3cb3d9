"""`hq token`: the tokens that let programs in."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from server.commands.context import home_of, login_name, print_json, print_table, say

_SCOPES = ("admin", "session", "ledger", "minion", "reviewer", "fire")


@click.group("token")
def command() -> None:
    """Create, list, rotate and revoke the tokens that let programs in.

    A token is shown once, when it is made; HQ keeps a digest by which it knows it again. Its scope says what it is
    good for: `session` for Claude sessions, `ledger` for those that run a process themselves, `minion` for the
    minion of its name, `reviewer` for people who decide, `fire` for starting one routine, `admin` for everything.

    \b
    Examples:
      hq token create --scope session --name laptop
      hq token list
      hq token rotate tok_4F2K
      hq token revoke tok_4F2K
    """


@command.command("create")
@click.option("--scope", type=click.Choice(_SCOPES), required=True, help="What it is good for.")
@click.option("--name", required=True, metavar="N", help="Who will hold it, to be known by later.")
@click.option("--routine", metavar="R", help="The one routine that a `fire` token starts: name or id.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def create(ctx: click.Context, scope: str, name: str, routine: str | None, as_json: bool) -> None:
    """Create a token and show it, this once.

    The token alone goes to stdout. A name may have two live tokens of a scope, so that its holder can go over from
    one to the next. A `minion` token lets in the minion of that very name, which asks for it: minion join URL.

    \b
    Examples:
      hq token create --scope session --name laptop
      hq token create --scope minion --name alice
      hq token create --scope fire --name sentry --routine triage
      hq token create --scope ledger --name ci --json
    """
    params = {"name": name, "scope": scope, **({"routine": routine} if routine is not None else {})}
    _show(_ask(ctx, "token.create", params), as_json)


@command.command("rotate")
@click.argument("token", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def rotate(ctx: click.Context, token: str, as_json: bool) -> None:
    """Create the token that follows another, and show it, this once.

    ID is the token's id, as `hq token list` shows it. The old one stays good until it is revoked, or until the
    next rotation.

    \b
    Examples:
      hq token rotate tok_4F2K
      hq token rotate tok_4F2K --json
    """
    said = _ask(ctx, "token.rotate", {"token": token})
    _show(said, as_json)
    for old in said["still_live"]:
        say(f"{old} is good still; end it when its holder has the new one: hq token revoke {old}")
    for old in said["revoked"]:
        say(f"{old} was revoked.")


@command.command("revoke")
@click.argument("token", metavar="ID")
@click.pass_context
def revoke(ctx: click.Context, token: str) -> None:
    """End a token at once.

    ID is the token's id, as `hq token list` shows it. Whoever holds it is turned away from the next call on.

    \b
    Examples:
      hq token revoke tok_4F2K
    """
    said = _ask(ctx, "token.revoke", {"token": token})
    say(f"{said['id']} ({said['name']}, {said['scope']}) is revoked.")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List all tokens, oldest first, the revoked ones too.

    It reads the store, whether HQ runs or not. No token's text is kept, so none is shown.

    \b
    Examples:
      hq token list
      hq token list --json
    """
    from server.actions.entrust import listed
    from server.storage.reading import read_once

    found = read_once(home_of(ctx).store, listed)
    if as_json:
        print_json({"tokens": found})
        return
    if not found:
        say("No tokens yet: hq token create --scope session --name laptop")
        return
    rows = [
        [*(each[name] or "–" for name in ("id", "name", "scope", "bound_to")), _minute(each["created_at"]),
         _state(each)] for each in found
    ]  # fmt: skip
    print_table(["id", "name", "scope", "for", "created", "state"], rows)


def _ask(ctx: click.Context, verb: str, params: dict[str, Any]) -> dict[str, Any]:
    from server.asking import ask

    return ask(home_of(ctx), f"hq {verb.replace('.', ' ')}", verb, params, who=login_name())


def _show(said: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(said)
        return
    click.echo(said["token"])
    what = "minion" if said["scope"] == "minion" else "routine"
    bound = f" for the {what} {said['bound_to']}" if said["bound_to"] else ""
    say(f"{said['id']} ({said['name']}, {said['scope']}){bound}: keep it now, it is not shown again.")


def _minute(moment: str | None) -> str:
    from server.contract.digest import parse_instant

    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return parse_instant(str(moment)).astimezone().strftime("%Y-%m-%d %H:%M")
    return "–"


def _state(token: dict[str, Any]) -> str:
    from server.clock import utc_now
    from server.contract.digest import instant

    if token["revoked_at"] is not None:
        return f"revoked {_minute(token['revoked_at'])}"
    return "expired" if token["expires_at"] and token["expires_at"] <= instant(utc_now()) else "live"
