"""`hq status`: the home, who owns it, where it answers, what it holds."""

from __future__ import annotations

from typing import Any

import click

from server.commands.context import home_of, print_json, say


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show the home, who owns it, where it answers and what its store holds.

    It reads the store, whether HQ runs or not. Where HQ runs it is asked whether it answers.

    \b
    Examples:
      hq status
      hq status --json
    """
    from server.asking import is_ready
    from server.at_hand import owner_of
    from server.config import read_holder
    from server.storage.migrations import SCHEMA_VERSION, examine
    from server.storage.overview import overview
    from server.storage.reading import read_once

    home = home_of(ctx)
    owner = owner_of(home)
    said = (read_holder(home) or {}) if owner is not None else {}
    url, public = said.get("url"), said.get("public_url")
    version = examine(home.store)
    held = read_once(home.store, overview) if version == SCHEMA_VERSION else None
    document: dict[str, Any] = {
        "home": str(home.root), "store": {"path": str(home.store), "version": version} if version else None,
        "owner": {"pid": owner[0], "command": owner[1]} if owner else None, "url": url, "public_url": public,
        "answers": is_ready(url) if url is not None else None, "holds": held,
    }  # fmt: skip
    if as_json:
        print_json(document)
        return
    for name, line in _lines(document):
        click.echo(f"{name:<10} {line}".rstrip())
    if owner is None:
        say("Nobody serves this home: hq serve")


def _lines(said: dict[str, Any]) -> list[tuple[str, str]]:
    owner, held = said["owner"], said["holds"]
    named = f"`{owner['command']}` (process {owner['pid']})" if owner else "none"
    lines = [("home", said["home"]), ("owner", named)]
    if said["url"]:
        state = {True: "ready", False: "not ready: /readyz and its log say why"}[said["answers"]]
        lines.append(("address", f"{said['url']}  {state}"))
    if said["public_url"]:
        lines.append(("public", said["public_url"]))
    if held is None and said["store"]:
        return [*lines, ("store", f"of version {said['store']['version']}: hq serve brings it up to date")]
    if held is None:
        return [*lines, ("store", "none yet")]
    lines.append(("log", f"{held['events']:,} events, {held['steps']:,} step logs"))
    for name in ("runs", "gaps", "decisions"):
        states = held[name]
        parts = ", ".join(f"{number:,} {state}" for state, number in sorted(states.items()))
        lines.append((name, parts or "none"))
    lines.append(("routines", f"{held['routines']:,}"))
    lines.append(("tokens", f"{held['tokens']:,} not revoked"))
    lines.append(("minions", _minions(held["minions"])))
    if held["notices"]["states"]:
        lines.append(("notices", _notices(held["notices"])))
    return lines


def _minions(said: dict[str, Any]) -> str:
    silent = f", silent: {', '.join(said['silent'])}" if said["silent"] else ""
    return f"{said['joined']:,} joined{silent}"


def _notices(said: dict[str, Any]) -> str:
    """What people were told of minions, and what could not be told them."""
    from server.domain.legible import one_line

    parts = ", ".join(f"{number:,} {state}" for state, number in sorted(said["states"].items()))
    trouble = said["trouble"]
    return parts if trouble is None else f"{parts}; {trouble['way']}: {one_line(trouble['problem'], 200)}"
