"""The sandbox: a tool host really started in bubblewrap, and what a command inside it can reach."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from minion.config import Home, search_path
from minion.doctor.finding import Finding, ok, problem, warning
from minion.doctor.remedies import as_root, install, quoted
from minion.runner.stage import python_of_children
from minion.sandbox.bubblewrap import Bind, Envelope
from minion.sandbox.tool_client import SandboxUnusable, ToolHost

# The first that knows --disable-userns.
OLDEST: Final = (0, 8, 0)
# What of a user's home nobody wants to see inside; whichever are there are looked for.
_PRIVATE: Final = (".ssh", ".gnupg", ".aws", ".netrc", ".gitconfig", ".config", ".bash_history", ".claude")
_UNSANDBOXED: Final = "only unchanged bundled skills run, and each run says `unsandboxed`"
_ASK_S: Final = 10.0
_PROBE: Final = """
import json, os, socket, sys
asked = json.load(sys.stdin)
try:
    socket.create_connection(("127.0.0.1", asked["port"]), 2).close()
    connected = True
except OSError:
    connected = False
try:
    open("/scratch/written", "x").close()
except OSError:
    pass
print(json.dumps({"connected": connected, "seen": [p for p in asked["hidden"] if os.path.lexists(p)]}))
"""


async def sandbox(folder: Path, home: Home) -> list[Finding]:
    """A command runs in a sandbox over `folder` (empty, the doctor's own): no network and no home are there."""
    if sys.platform != "linux":
        return [ok("sandbox", f"This system has no bubblewrap: {_UNSANDBOXED}.")]
    bwrap = shutil.which("bwrap", path=search_path())
    if bwrap is None:
        return [warning("sandbox", f"bubblewrap is not installed: {_UNSANDBOXED}.", install("bubblewrap"))]
    said = _version_words(bwrap)
    version = _version(said)
    if version is not None and version < OLDEST:
        number = ".".join(map(str, version))
        says = f"bubblewrap {number} is too old (0.8 is needed): {_UNSANDBOXED}."
        return [warning("sandbox", says, install("bubblewrap"))]
    hidden = _hidden(home)
    try:
        answer = await _ask(folder, hidden)
    except SandboxUnusable as error:
        words = str(error).removeprefix("bwrap: ").rstrip(".")
        # Nothing that a setting could free: Python itself lies where nobody may look.
        fix = install("python3") if "holds more than" in words else narrow_fix(bwrap)
        return [warning("sandbox", f"bubblewrap does not start ({words}): {_UNSANDBOXED}.", fix)]
    return [_judged(answer, folder, home, said)]


def narrow_fix(bwrap: str, settings: Path = Path("/proc/sys"), top: Path = Path("/")) -> str:
    """The one line that lets bubblewrap start, and nothing else more than it must; by the kernel's `settings`."""
    if _setting(settings / "kernel/apparmor_restrict_unprivileged_userns") == "1":
        # For this one program, instead of the setting, which would free every program of the machine.
        profile = (
            f"abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile bwrap {bwrap} flags=(unconfined) {{\\n"
            "  userns,\\n  include if exists <local/bwrap>\\n}\\n"
        )
        file = "/etc/apparmor.d/bwrap"
        return f"printf '{profile}' | {as_root(f'tee {file}')} && {as_root(f'apparmor_parser -r {file}')}"
    for name, right in (("kernel/unprivileged_userns_clone", "1"), ("user/max_user_namespaces", "15000")):
        if _setting(settings / name) == "0":
            line = f"{name.replace('/', '.')}={right}"
            return f"echo {line} | {as_root('tee /etc/sysctl.d/60-minion.conf')} && {as_root('sysctl --system')}"
    if (top / ".dockerenv").exists() or (top / "run/.containerenv").exists():
        # A container forbids by seccomp what the kernel would allow, and covers parts of /proc.
        return "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined \"$IMAGE\""
    return install("bubblewrap", again=True)


async def _ask(folder: Path, hidden: Sequence[str]) -> str:
    """What the probe prints inside, or why it did not end well. Raises `SandboxUnusable`."""
    envelope = Envelope(binds=(Bind(str(folder), "/scratch", writable=True),))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = await ToolHost.start(envelope, sandboxed=True, log_path=folder.with_suffix(".log"))
        try:
            asked = json.dumps({"port": listener.getsockname()[1], "hidden": list(hidden)})
            argv = [python_of_children(), "-I", "-S", "-c", _PROBE]
            result = await host.run(argv, cwd="/", stdin=asked, timeout_s=_ASK_S, max_bytes=65_536)
        finally:
            await host.close()
    if result.exit != 0:
        return f"{result.why or f'exit {result.exit}'}: {result.stderr.decode('utf-8', 'replace')[-300:]}"
    return result.stdout.decode("utf-8", "replace")


def _judged(answer: str, folder: Path, home: Home, said: str) -> Finding:
    again = install("bubblewrap", again=True)
    try:
        seen = json.loads(answer)
    except ValueError:
        return problem("sandbox", f"A command in the sandbox did not work: {answer}", again)
    if seen["connected"]:
        return problem("sandbox", "A command in the sandbox reached the network of this machine.", again)
    if seen["seen"]:
        mine = str(home.root) in seen["seen"]
        place = '"$HOME/.minion"'
        fix = f"mv {quoted(home.root)} {place} && export MINION_HOME={place}" if mine else again
        return problem("sandbox", f"A command in the sandbox can see {seen['seen'][0]}.", fix)
    if not (folder / "written").is_file():
        return problem("sandbox", "What a command in the sandbox wrote did not reach its folder.", again)
    return ok("sandbox", f"{said or 'bubblewrap'} ran a command without network and with no home in sight.")


def _hidden(home: Home) -> list[str]:
    """Paths that are there outside and may not be inside."""
    places = [home.root, *(Path.home() / name for name in _PRIVATE)]
    return [str(path) for path in places if os.path.lexists(path)]


def _version_words(bwrap: str) -> str:
    done = subprocess.run([bwrap, "--version"], capture_output=True, timeout=_ASK_S, check=False)
    return done.stdout.decode("utf-8", "replace").strip()


def _version(said: str) -> tuple[int, int, int] | None:
    found = re.match(r"bubblewrap (\d+)\.(\d+)(?:\.(\d+))?", said)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found is not None else None


def _setting(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None
