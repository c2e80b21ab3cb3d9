"""Reads the files around the code: lock files, Makefile, the changelog, README's commands and `.ci/run`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;*]+)(?:\s*;\s*(?P<marker>[^\\]+?))?"
    r"(?P<hashes>(?:\s+--hash=sha256:[0-9a-f]{64})+)"
)
_TARGET = re.compile(r"^([a-z][a-z0-9-]*(?: +[a-z][a-z0-9-]*)*) *:(?![:=])", re.MULTILINE)
_MAKE = re.compile(r"(?:^|[\s$;&|(`])make +(?:-\S+ +)*([a-z][a-z0-9-]*)")
_FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^## (\d+\.\d+\.\d+) — (\d{4}-\d{2}-\d{2})$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
# What `.ci/run` may say besides `make` and `apt-get`: plumbing of the shell that starts no program of ours.
_PLUMBING = frozenset(
    {"set", "cd", "if", "then", "else", "fi", "command", "export", "echo", "printf", "exit", "test", "[", "true"}
)


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file: the exact version of each package by canonical name, and the lines it may not have."""

    versions: dict[str, str]
    strangers: tuple[str, ...]


def read_lock(text: str) -> Lock:
    """The pins of a pip requirements file; a line that is no exact version with a sha256 is a stranger.

    So are an index address and an option: a lock says what is installed, not where it comes from.
    """
    versions: dict[str, str] = {}
    strangers: list[str] = []
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        pin = _PIN.fullmatch(line.strip())
        if pin is None:
            strangers.append(line.strip())
        elif pin["name"] is not None:
            versions[canonicalize_name(pin["name"])] = pin["version"]
            if pin["marker"] is not None:
                Marker(pin["marker"])
    return Lock(versions, tuple(strangers))


def unmet(requirements: list[str], lock: Lock) -> list[str]:
    """The requirements that the lock lacks or holds in a version they do not admit."""
    found = []
    for text in requirements:
        wanted = Requirement(text)
        version = lock.versions.get(canonicalize_name(wanted.name))
        if version is None:
            found.append(f"{text}: not locked")
        elif not wanted.specifier.contains(version, prereleases=True):
            found.append(f"{text}: locked at {version}")
    return found


def make_targets(makefile: str) -> set[str]:
    """The targets with a plain name that a Makefile defines."""
    return {name for line in _TARGET.findall(makefile) for name in line.split()}


def make_calls(markdown: str) -> list[str]:
    """The targets after `make` in the code (fenced first, then inline) of a page, each once, in order."""
    fenced = _FENCED.findall(markdown)
    inline = _INLINE.findall(_FENCED.sub("", markdown))
    calls = [target for code in [*fenced, *inline] for target in _MAKE.findall(code)]
    return list(dict.fromkeys(calls))


def script_calls(script: str) -> tuple[list[str], list[str]]:
    """Of a shell script: the make targets it calls, and the lines that do anything but set up or call make."""
    targets: list[str] = []
    strangers: list[str] = []
    code = [line for line in script.replace("\\\n", " ").splitlines() if not line.lstrip().startswith("#")]
    for line in code:
        for command in re.split(r"&&|\|\||[;|{}]|\bthen\b|\belse\b", line):
            words = command.split()
            while words and (words[0] in ("!", "if", "exec", "sudo") or _ASSIGNMENT.match(words[0])):
                words.pop(0)
            if not words:
                continue
            if words[0] == "make":
                targets += [word for word in words[1:] if word[0] != "-" and not _ASSIGNMENT.match(word)]
            elif words[0] != "apt-get" and words[0] not in _PLUMBING:
                strangers.append(line.strip())
    return targets, strangers


def released(changelog: str) -> list[tuple[str, str]]:
    """The (version, date) headings of the changelog as they stand, newest first by its own order."""
    return _HEADING.findall(changelog)
