"""What somebody may have meant who typed a command or option that is not there: the nearest one, or our word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

import click

# Words of other tools, by the group they are typed in, and what does that here.
ELSEWHERE: Final[Mapping[str, Mapping[str, str]]] = {
    "minion": {
        "ls": "runs", "list": "routine list", "ps": "status", "history": "runs", "jobs": "runs",
        "start": "up", "daemon": "up", "serve": "up", "health": "status",
        "exec": "run", "fire": "run", "trigger": "run", "now": "run",
        "get": "show", "inspect": "show", "describe": "show", "view": "show", "report": "show", "open": "show",
        "add": "routine add", "create": "routine new", "new": "routine new", "edit": "routine edit",
        "rm": "routine remove", "delete": "routine remove", "remove": "routine remove", "del": "routine remove",
        "routines": "routine list", "templates": "routine new --list", "template": "routine new --list",
        "skills": "skill list", "plugin": "skill", "plugins": "skill list",
        "cron": "schedule", "crontab": "schedule", "at": "schedule", "every": "schedule", "remind": "schedule",
        "pause": "schedule pause", "unpause": "schedule resume", "stop": "down",
        "continue": "resume", "retry": "resume", "estimate": "forecast", "price": "forecast",
        "kill": "cancel", "abort": "cancel", "freeze": "halt", "upcoming": "next", "when": "next", "due": "next",
        "missed": "slots", "explain": "why", "approve": "decide", "reject": "decide",
        "log": "logs", "tail": "logs", "costs": "cost", "usage": "cost", "spend": "cost", "billing": "cost",
        "undo": "effects", "revert": "effects", "pushes": "effects", "messages": "effects",
        "audit": "verify", "check": "doctor", "diagnose": "doctor", "test": "doctor",
        "config": "where", "path": "where", "info": "where", "backup": "export", "restore": "import",
        "configure": "setup", "onboard": "setup", "install": "init", "purge": "uninstall",
        "completions": "completion", "autocomplete": "completion",
        "secrets": "secret list", "key": "secret set", "token": "secret set", "login": "secret set",
        "help": "--help", "version": "--version",
    },
    "minion routine": {
        "ls": "routine list", "rm": "routine remove", "delete": "routine remove", "create": "routine new",
        "get": "routine show", "cat": "routine show", "update": "routine edit", "run": "run", "start": "run",
        "templates": "routine new --list", "pause": "schedule pause", "resume": "schedule resume",
    },
    "minion secret": {
        "ls": "secret list", "show": "secret list", "get": "secret list", "rm": "secret remove",
        "delete": "secret remove", "unset": "secret remove", "add": "secret set", "put": "secret set",
    },
    "minion skill": {
        "ls": "skill list", "rm": "skill remove", "delete": "skill remove", "uninstall": "skill remove",
        "install": "skill add", "import": "skill add", "create": "skill new", "init": "skill new",
        "get": "skill show", "cat": "skill show", "check": "skill validate", "lint": "skill validate",
    },
}  # fmt: skip


def said_of(error: click.ClickException, where: str) -> tuple[str, str]:
    """One sentence and one hint for bad use; `where` is the path of the command that was being read."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.exceptions.NoSuchCommand) and context is not None:
        return _no_command(error.command_name, context, where)
    if isinstance(error, click.NoSuchOption) and context is not None:
        return _no_option(error.option_name, context, where)
    param = error.param if isinstance(error, click.BadParameter) else None
    if param is not None and isinstance(param.type, click.IntRange | click.FloatRange):
        return _no_number(max(param.opts, key=len), param.type), f"{where} --help"
    sentence = " ".join(error.format_message().split())
    return sentence if sentence.endswith((".", "?")) else f"{sentence}.", f"{where} --help"


def _no_command(word: str, context: click.Context, where: str) -> tuple[str, str]:
    group = context.command
    known = group.list_commands(context) if isinstance(group, click.Group) else []
    root, word = where.split(" ")[0], _printable(word)
    lower = word.lower()
    elsewhere = ELSEWHERE.get(where, {}).get(lower)
    near = nearest(lower, known)
    if elsewhere is not None:
        meant = f"{root} {elsewhere}"
    elif near is not None:
        meant = f"{where} {near}"
    else:
        return _sentence("command", word), f"{where} --help"
    return _sentence("command", word), f"did you mean `{meant}`?"


def _no_option(word: str, context: click.Context, where: str) -> tuple[str, str]:
    name = _printable(word).partition("=")[0]
    ours, root = _options(context), context.find_root()
    if name not in ours and name in _options(root):
        return _sentence("option", name), f"put it before the command: {root.command_path} {name} …"
    near = nearest(name, ours)
    meant = f"did you mean `{where} {near}`?" if near is not None else f"{where} --help"
    return _sentence("option", name), meant


def _no_number(option: str, kind: click.IntRange | click.FloatRange) -> str:
    upper = f" to {kind.max:,}" if kind.max is not None else " on"
    number = "whole number" if isinstance(kind, click.IntRange) else "number"
    return f"{option} takes a {number} from {kind.min:,}{upper}."


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` is most likely a slip of; None when none is near."""
    names = list(known)
    begun = [name for name in names if len(word) > 1 and name.startswith(word)]
    close = difflib.get_close_matches(word, names, n=1)
    return begun[0] if len(begun) == 1 else close[0] if close else None


def _options(context: click.Context) -> list[str]:
    return [
        name
        for param in context.command.get_params(context)
        if isinstance(param, click.Option) and not param.hidden
        for name in param.opts
    ]


def _sentence(kind: str, word: str) -> str:
    return f"There is no {kind} {word[:40]!r}."


def _printable(word: str) -> str:
    return "".join(sign for sign in word if sign.isprintable())
