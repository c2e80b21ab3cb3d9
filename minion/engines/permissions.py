"""What a skill's `allowed-tools` lets a model do with a tool: decided at once, in a sentence when it is no.

The entries are those of Agent Skills: `Read`, `Bash`, `Bash(git add *)`, `Bash(git:*)`, `Edit(src/**)`, `mcp__…`.
Names are read without regard to capitals, and some of Claude Code's mean a tool of ours.
"""

from __future__ import annotations

import operator
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

OTHER_NAMES: Final = {"multiedit": "edit", "ls": "glob"}
FILE_TOOLS: Final = frozenset({"read", "write", "edit", "glob", "grep"})
_ENTRY: Final = re.compile(r"([^()\s]+)(?:\((.*)\))?", re.DOTALL)
# What bash would make more of than one command and its words. Inside single quotes it makes nothing of anything;
# a line break is left out even there, so that nothing depends on how two readers count lines.
_OPERATORS: Final = frozenset(";&|<>()$`\\\n\r")
_IN_DOUBLE_QUOTES: Final = frozenset("$`\\!\n\r")
# A plain file as input, at the very end: skills hand their scripts a task so. What it reads, it could read anyway.
_INPUT: Final = re.compile(r"[ \t]+<[ \t]*(?![-])[A-Za-z0-9_./-]+[ \t]*\Z")
_SETS_A_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\[.*\])?\+?=")


def is_allowed(tool: str, given: Mapping[str, Any], allowed: Sequence[str]) -> str | None:
    """None when a skill that allows `allowed` may make this call, else the sentence for the model.

    An empty list allows everything. A pattern for bash admits one simple command only: no operators but `< FILE`
    at its end, no expansions, no variables set before it.
    """
    limits = _limits(tool, allowed)
    if limits is None:
        return None
    if not limits:
        return f"{tool} is not among the tools that it allows ({', '.join(allowed)}): do it with one of those."
    if tool == "bash":
        return _bash_refusal(given.get("command"), limits)
    if tool in FILE_TOOLS:
        return _path_refusal(tool, given, limits)
    return f"{tool} is allowed only with limits that are not known here ({', '.join(limits)})."


def is_held_to_paths(tool: str, allowed: Sequence[str]) -> bool:
    """Whether it matters where the path of a call leads: a file tool is allowed for some paths only."""
    return tool in FILE_TOOLS and bool(_limits(tool, allowed))


def is_allowed_at(tool: str, given: Mapping[str, Any], place: str, allowed: Sequence[str]) -> str | None:
    """As `is_allowed`, which allowed the path as it is written: held against `place` too, where that path leads.

    A repository may hold links that lead out of what a pattern means. Only the sandbox knows: its file tool
    `place` says it, a relative path for a relative one that stays below the repository.
    """
    if is_allowed(tool, {**given, "path": place}, allowed) is None:
        return None
    may = " or ".join(f"`{pattern}`" for pattern in _limits(tool, allowed) or ())
    path = str(given.get("path") or ".")
    return f"{path} leads to {place}, and {tool} may be used for {may} only: name a path that stays there."


def _limits(tool: str, allowed: Sequence[str]) -> list[str] | None:
    """The patterns that a tool is held to: None when it is allowed whole, none of them when it is not at all."""
    patterns = [
        pattern for name, pattern in map(_entry, allowed)
        if name == tool.lower() or _of_server(tool, name, pattern)
    ]  # fmt: skip
    limits = [pattern for pattern in patterns if pattern and pattern not in ("*", ":*", "**")]
    return limits if allowed and len(limits) == len(patterns) else None


def _entry(text: str) -> tuple[str, str | None]:
    """The tool of ours that an entry names, and its pattern; an entry that cannot be read names none."""
    match = _ENTRY.fullmatch(text.strip())
    if match is None:
        return "", None
    name = match[1].lower()
    return OTHER_NAMES.get(name, name), None if match[2] is None else match[2].strip()


def _of_server(tool: str, name: str, pattern: str | None) -> bool:
    """Whether an entry such as `mcp__tracker` or `mcp__tracker__*` names all tools of the server that has this."""
    if not name.startswith("mcp__") or pattern is not None:
        return False
    server = name.removesuffix("*").removesuffix("__")
    return server.count("__") == 1 and len(server) > len("mcp__") and tool.lower().startswith(f"{server}__")


def _bash_refusal(command: Any, patterns: Sequence[str]) -> str | None:
    may = " or ".join(f"`{pattern}`" for pattern in patterns)
    words = simple_words(_INPUT.sub("", command)) if isinstance(command, str) else None
    if words is None:
        return (
            f"bash may run {may} only, as one simple command: without ; & | < > ( ) $ ` \\ and line breaks, and"
            " with every quote closed. Make one call for each command, and put such characters in single quotes."
        )
    if words and _SETS_A_VARIABLE.match(words[0]):
        return f"bash may run {may} only, without variables set before the command."
    if any(_admits(pattern, words) for pattern in patterns):
        return None
    return f"bash may run {may} only: use such a command, or another tool."


def simple_words(command: str) -> list[str] | None:
    """The words of one simple command, as bash would split them, quotes taken away; None when it is anything else.

    Names of files are not expanded: a pattern is held against what was written.
    """
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(command):
        letter = command[at]
        if letter in _OPERATORS or (ord(letter) < 32 and letter != "\t") or letter == "\x7f":
            return None
        at += 1
        if letter in " \t":
            words, word = (words, None) if word is None else ([*words, word], None)
        elif letter in "'\"":
            end = command.find(letter, at)
            quoted = command[at:end]
            forbidden = _IN_DOUBLE_QUOTES if letter == '"' else frozenset("\n\r\0")
            if end < 0 or forbidden.intersection(quoted):
                return None
            word, at = (word or "") + quoted, end + 1
        elif letter == "#" and word is None:
            return None
        else:
            word = (word or "") + letter
    return words if word is None else [*words, word]


def _admits(pattern: str, words: Sequence[str]) -> bool:
    """Whether a pattern's words fit those of a command.

    A `*` alone is any words, none included; within a word it is any letters of that word, at the very end of the
    pattern any words after it too. `:*` at the end is ` *`.
    """
    if pattern.endswith(":*"):
        pattern = f"{pattern[:-2]} *"
    wanted = simple_words(pattern) or pattern.split()
    wanted = [*wanted, "*"] if pattern.endswith("*") else wanted
    return _fits(wanted, words, "*", lambda word, given: _fits(word, given, "*", operator.eq))


def _fits(pattern: Sequence[str], items: Sequence[str], star: str, same: Callable[[str, str], bool]) -> bool:
    """Whether items fit a pattern in which `star` is any of them, in time of the product of their lengths.

    Not as a regular expression: with many stars that would take as good as for ever.
    """
    at = found = tried = 0
    last_star = -1
    while found < len(items):
        if at < len(pattern) and pattern[at] == star:
            last_star, tried, at = at, found, at + 1
        elif at < len(pattern) and same(pattern[at], items[found]):
            at, found = at + 1, found + 1
        elif last_star >= 0:
            at, tried = last_star + 1, tried + 1
            found = tried
        else:
            return False
    return all(rest == star for rest in pattern[at:])


def _path_refusal(tool: str, given: Mapping[str, Any], patterns: Sequence[str]) -> str | None:
    may = " or ".join(f"`{pattern}`" for pattern in patterns)
    path = str(given.get("path") or ".")
    if tool == "glob":
        pattern = str(given.get("pattern") or "")
        if ".." in pattern.split("/"):
            return "A pattern of glob cannot hold `..`."
        path = posixpath.join(path, pattern)
    if any(_covers(pattern, posixpath.normpath(path)) for pattern in patterns):
        return None
    return f"{tool} may be used for {may} only: name such a path, as it is written there."


def _covers(pattern: str, path: str) -> bool:
    """Whether a pattern for paths covers one: `*` and `?` within a name, `**` any folders (`src/**` is `src` too).

    A relative pattern covers relative paths only; `//` begins an absolute one, as `/` does.
    """
    wanted, parts = posixpath.normpath(re.sub(r"^//", "/", pattern)), path.split("/")
    if wanted.startswith("/") != path.startswith("/") or ".." in parts:
        return False
    return _fits(wanted.split("/"), parts, "**", _fits_name)


def _fits_name(pattern: str, name: str) -> bool:
    return _fits(pattern, name, "*", lambda wanted, letter: wanted in (letter, "?"))
