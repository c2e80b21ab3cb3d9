"""`minion secret`: keeps what routines need and nobody else may know: set, listed by name, removed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from minion.commands.completion import complete_secret, complete_secret_to_set
from minion.commands.context import hinting, home_of, print_json, program, warn
from minion.commands.presentation import table
from minion.config import Home, load_config
from minion.daemon_client import answer_now
from minion.engines.registry import API_KEY, ENGINES
from minion.secrets_file import (
    SECRETS_BYTES,
    checked_name,
    checked_value,
    forget_secret,
    keep_secret,
    secret_names,
)
from minion.spelling import plain
from server.contract.redaction import Redactor
from server.contract.refusals import BadUse, NotFound, Refusal

_OPTIONS: Final = ("-h", "--help", "--json")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


class NamesOnly(click.Command):
    """A command that takes a secret's name, and refuses its value before anything could repeat it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look at every argument, also at those that nothing takes."""
        words = [word for word in args if word not in _OPTIONS and not word.startswith("--")]
        doubtful = any(Redactor().text(word) != word or "://" in word for word in args)
        if not ctx.resilient_parsing and (len(words) > 1 or doubtful):
            raise BadUse(
                "secret_in_argv",
                "A secret was given as an argument, where other processes and the shell's history see it.",
                hint="revoke it; give the new one on standard input, or when asked: minion secret set NAME",
            )
        return super().parse_args(ctx, args)


@click.group("secret")
def command() -> None:
    """Keep secrets for routines: webhooks, tokens, the API's key.

    They lie in the home's secrets.json, which only you can read, and are given by name to what needs them: never
    to a skill or a model, never into logs. The names that mean something by themselves:

    \b
      anthropic_api_key  the key that the engine messages calls its API with
      slack_webhook      where messages to slack go; TARGET_webhook for TARGET
      HOST_token         for pull requests and comments: github.com_token

    \b
    Examples:
      minion secret set anthropic_api_key
      minion secret list
      minion secret remove old_webhook
    """


@command.command("set", cls=NamesOnly)
@click.argument("name", metavar="NAME", shell_complete=complete_secret_to_set)
@_JSON
@click.pass_context
def set_(ctx: click.Context, name: str, as_json: bool) -> None:
    """Keep a secret under a name, or change it.

    It is read from standard input (`… < FILE`), or asked for at a terminal without being shown: never from an
    argument. The newline that ends it is no part of it; one shorter than 6 characters is refused, for nothing
    could keep it out of logs. Runs that begin from now on have it, a daemon's too. The engine messages finds the
    key of its API under the name anthropic_api_key.

    \b
    Examples:
      minion secret set anthropic_api_key
      minion secret set slack_webhook
      minion secret set github.com_token --json
    """
    home = home_of(ctx)
    load_config(home)
    checked_name(name)
    value = checked_value(name, _given(name), in_header=name == API_KEY)
    there = name in secret_names(home.secrets_file)
    changed = keep_secret(home.secrets_file, name, value)
    _tell_daemon(home, name)
    if as_json:
        print_json({"name": name, "changed": changed, "new": not there})
        return
    click.echo(f"{name} is {'changed' if changed and there else 'kept' if changed else 'as it was'}.")
    for entry in ENGINES:
        if entry.needs == name:
            click.echo(f"  engine        {entry.name} is ready – paid by {entry.pays}")
            click.echo(f"  use it        {program(ctx)} setup --engine {entry.name}, or `engine: …` of a routine")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the names of the secrets, and who uses them.

    No value is ever shown. It is known whose messages, alerts, dead-man's switch and engine a secret is for; one
    that only a forge needs, or that a skill of your own tells of, is said to be used by nobody.

    \b
    Examples:
      minion secret list
      minion secret list --json
    """
    from minion.routines.secret_users import users_of

    home = home_of(ctx)
    config = load_config(home)
    names, users = sorted(secret_names(home.secrets_file)), users_of(home, config, _routines(home))
    listed = [{"name": name, "used_by": users.get(name, [])} for name in names]
    if as_json:
        print_json(listed)
    elif listed:
        rows = [[plain(str(item["name"])), ", ".join(item["used_by"]) or "–"] for item in listed]
        click.echo("\n".join(table(["secret", "used by"], rows)))
    else:
        click.echo(f"No secrets yet: {program(ctx)} secret set NAME")


@command.command("remove", cls=NamesOnly)
@click.argument("name", metavar="NAME", shell_complete=complete_secret)
@_JSON
@click.pass_context
def remove(ctx: click.Context, name: str, as_json: bool) -> None:
    """Forget a secret; where it was made it stays valid.

    Runs that begin from now on do not have it. Who still uses it is said: their runs fail, or are refused, for
    want of it. Revoke it where it was made, too.

    \b
    Examples:
      minion secret remove slack_webhook
    """
    from minion.routines.secret_users import users_of

    home = home_of(ctx)
    config = load_config(home)
    if name not in (names := secret_names(home.secrets_file)):
        from minion.store.routines import nearest_name

        near = nearest_name(sorted(names), name)
        hint = f"did you mean {near}? `minion secret list` shows them all" if near else "minion secret list"
        raise NotFound("no_such_secret", "There is no secret of that name.", hint=hint)
    forget_secret(home.secrets_file, name)
    _tell_daemon(home, name)
    users = users_of(home, config, _routines(home)).get(name, [])
    if as_json:
        print_json({"removed": name, "used_by": users})
        return
    click.echo(f"{plain(name)} is removed; where it was made it stays valid: revoke it there.")
    if users:
        warn(f"It is still used by {', '.join(users)}.")


def _given(name: str) -> bytes:
    """What a pipe gives, or a person types without its being shown; a little more than may be kept."""
    if not sys.stdin.isatty():
        return sys.stdin.buffer.read(SECRETS_BYTES + 1)
    from minion.commands.questions import Questions

    with hinting("no_answer", f"give it on standard input: minion secret set {name} < FILE"):
        return Questions(asks=True).hidden(f"The secret {name}, not shown as you type")


def _routines(home: Home) -> list[Mapping[str, Any]]:
    from minion.store.local_db import read_only
    from minion.store.routines import list_routines

    try:
        with read_only(home.store) as db:
            return [kept.document for kept in list_routines(db)]
    except Refusal:  # secrets can be seen to though the store cannot be read
        return []


def _tell_daemon(home: Home, name: str) -> None:
    """Have a daemon look anew which engines are ready: for its HQ, and for files that waited for one."""
    if not any(entry.needs == name for entry in ENGINES):
        return
    try:
        answer_now(home, "reload")
    except Refusal as refusal:
        warn(f"The daemon could not read everything again: {refusal.sentence}")
