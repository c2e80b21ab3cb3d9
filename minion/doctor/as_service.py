"""The examination as a service would find things: with its PATH, without an ssh agent, a terminal or a session."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from minion.config import Home, load_config, passed_environment
from minion.doctor.finding import Finding, ok, problem, warning
from minion.doctor.remedies import quoted
from minion.setup.init_system import ask
from minion.setup.service import STOP_MARGIN_S, Unit, read_unit, service_environment, standing, unit_of
from minion.store.local_db import read_only
from minion.store.routines import list_routines
from server.contract.refusals import Refusal

_ALL_S: Final = 180.0
_ASK_S: Final = 5.0
# What differs from one examination to the next by itself: times, sizes, counts.
_NUMBERS: Final = re.compile(r"\d+(?:[.,:-]\d+)*")
# The keys that ssh tries when nobody names one (ssh_config(5), IdentityFile).
_KEYS: Final = ("id_rsa", "id_ecdsa", "id_ed25519")
_PROXIES: Final = ("https_proxy", "HTTPS_PROXY")


@dataclass(frozen=True, slots=True)
class Compared:
    """A finding of a service, and the same thing as it is found from here where that is otherwise."""

    finding: Finding
    here: Finding | None


def examine_as_service(home: Home, here: Sequence[Finding]) -> list[Compared]:
    """What a service of this home would find, beside `here`, what this process found. Nothing is changed.

    Raises a `Refusal` where there is no minion in the home.
    """
    unit = unit_of(home, load_config(home))
    lingers = ask(unit).lingers
    variables = service_environment(unit, lingers=lingers)
    found = _examined(home, variables)
    own = [*_unit(home, unit), *_lingering(unit, lingers), _environment(unit, variables), *_ssh(home, variables)]
    return [*(Compared(finding, None) for finding in own), *_beside(found, here)]


def _examined(home: Home, variables: Mapping[str, str]) -> list[Finding]:
    """The findings of a child that has these variables and no others, in a session of its own: no terminal."""
    argv = [sys.executable, "-I", "-m", "minion.doctor", str(home.root)]
    try:
        done = subprocess.run(
            argv, env=dict(variables), cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=_ALL_S,
            start_new_session=True, check=False,
        )  # fmt: skip
        return [Finding(**said) for said in json.loads(done.stdout)]
    except subprocess.TimeoutExpired:
        words = f"no end after {_ALL_S:g} s"
    except (ValueError, TypeError):
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        words = lines[-1] if lines else "it says nothing"
    says = f"The examination does not work with a service's variables: {words}."
    return [problem("service", says, "minion service show")]


def _beside(found: Sequence[Finding], here: Sequence[Finding]) -> list[Compared]:
    """Each finding with its like from here if they differ in more than numbers; the n-th of a name is the n-th."""
    left: dict[str, list[Finding]] = {}
    for finding in here:
        left.setdefault(finding.name, []).append(finding)
    compared = []
    for said in found:
        finding, others = said, left.get(said.name)
        other = others.pop(0) if others else None
        same = other is not None and (_alike(finding), finding.state) == (_alike(other), other.state)
        if other is not None and other.state == "ok" and finding.state != "ok":
            # It is here: only the unit does not lead to it.
            finding = replace(finding, fix="minion service install --replace")
        compared.append(Compared(finding, None if same else other))
    return compared


def _alike(finding: Finding) -> str:
    return _NUMBERS.sub("#", finding.says)


def _unit(home: Home, unit: Unit) -> list[Finding]:
    """The unit is there, as it would be installed now, and gives runs the time to end that minion.json says."""
    text = read_unit(unit)
    if text is None:
        says = "No service is installed; this is how one would find things."
        return [warning("service", says, "minion service install")]
    if text == unit.text:
        return [ok("service", f"{unit.file} is as it would be installed now.")]
    how = standing(text)
    if how == "ours":
        return [warning("service", f"{unit.file} is out of date.", "minion service install")]
    seconds = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    wanted = load_config(home).grace_s + STOP_MARGIN_S
    who = "was edited" if how == "edited" else "is not of `minion service install`"
    if seconds is not None and int(seconds[1]) < wanted:
        says = f"{unit.file} {who} and stops the daemon after {seconds[1]} s; its runs need up to {wanted}."
        return [warning("service", says, "minion service install --replace")]
    return [ok("service", f"{unit.file} {who}; the rest of this goes by its PATH.")]


def _lingering(unit: Unit, lingers: bool | None) -> list[Finding]:
    if unit.kind == "launchd":
        return []
    if lingers:
        return [ok("lingering", "It is on: the minion runs whether you are logged in or not.")]
    how = "It is off" if lingers is False else "Nobody here can tell whether it is on"
    says = f"{how}: without lingering the minion ends with your last session."
    return [warning("lingering", says, "loginctl enable-linger")]


def _environment(unit: Unit, variables: Mapping[str, str]) -> Finding:
    """Which variables that git may use here a service has not."""
    missing = sorted(passed_environment().keys() - variables.keys())
    proxies = [name for name in missing if name in _PROXIES]
    has = f"A service has {', '.join(sorted(variables))}"
    if proxies:
        says = f"{has}; your {proxies[0]} is not among them, and git goes through it here."
        if unit.kind == "launchd":
            return warning("environment", says, f'launchctl setenv {proxies[0]} "${proxies[0]}"')
        file = "~/.config/environment.d/90-proxy.conf"
        fix = f'mkdir -p ~/.config/environment.d && echo "{proxies[0]}=${proxies[0]}" >> {file}'
        return warning("environment", says, fix)
    without = f", and not your {', '.join(missing)}" if missing else ""
    return ok("environment", f"{has}{without}.")


def _ssh(home: Home, variables: Mapping[str, str]) -> list[Finding]:
    """Whether remotes by ssh could be reached by a key that asks nobody; nothing where no routine has one."""
    urls = sorted({url for url in _remotes(home) if _is_ssh(url)})
    if not urls or "SSH_AUTH_SOCK" in variables:
        return []
    more = f" and {len(urls) - 1} more" if len(urls) > 1 else ""
    what, folder = f"{urls[0]}{more}", Path(variables["HOME"]) / ".ssh"
    keygen = shutil.which("ssh-keygen", path=variables["PATH"])
    there = [folder / name for name in _KEYS if (folder / name).is_file()]
    for key in there if keygen is not None else ():
        if _opens(str(keygen), key):
            says = f"A service has no ssh agent; {key} asks for no passphrase, and may do for {what}."
            return [ok("ssh", says)]
    says = f"A service has no ssh agent, and no key without a passphrase: {what} cannot be reached unattended"
    if there:
        return [warning("ssh", f"{says}.", f"ssh-keygen -p -f {quoted(there[0])}")]
    fix = f"ssh-keygen -t ed25519 -N '' -f {quoted(folder / 'id_ed25519')}"
    return [warning("ssh", f"{says}; the new key's .pub file must be made known there.", fix)]


def _remotes(home: Home) -> list[str]:
    """The repositories of all routines in use; none where the store cannot be read, which is said elsewhere."""
    try:
        with read_only(home.store) as db:
            documents: list[Mapping[str, Any]] = [kept.document for kept in list_routines(db)]
    except Refusal:
        return []
    return [str(item["url"]) for document in documents for item in document["repositories"] or ()]


def _is_ssh(url: str) -> bool:
    """Whether git reaches an address by ssh: `ssh://…`, or `user@host:path`."""
    return url.startswith(("ssh://", "git+ssh://")) or re.fullmatch(r"[^/:]+@[^/:]+:(?!//).*", url) is not None


def _opens(keygen: str, key: Path) -> bool:
    """Whether a private key can be read without a passphrase; its public half is made of it, and thrown away."""
    try:
        done = subprocess.run(
            [keygen, "-y", "-P", "", "-f", str(key)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=_ASK_S, check=False, env={"PATH": os.defpath},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
