"""What `make install` puts where, how it goes again, and the receipt that says so; the standard library alone.

A virtual environment carries its own path and cannot be moved. So each installation gets a folder under a name of
its own, the links in the bin folder are switched to it by rename when it has proved itself, and the one before
it goes last: whatever is cut off, the links lead to a whole program.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from minion.config import search_path
from server.contract.refusals import BadUse, Refusal, Refused

PROGRAMS: Final = ("minion", "hq")
_FOLDER: Final = "program-"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation lies: below a prefix such as ~/.local, absolute."""

    prefix: Path

    @property
    def share(self) -> Path:
        """The folder that is the installation's alone."""
        return self.prefix / "share" / "minion-hq"

    @property
    def receipt(self) -> Path:
        """`installed.json`: the version, the program's folder, the links, the checkout it came from."""
        return self.share / "installed.json"

    @property
    def links(self) -> tuple[Path, ...]:
        """The programs as they are called, in the prefix's bin folder."""
        return tuple(self.prefix / "bin" / name for name in PROGRAMS)

    def programs(self) -> list[Path]:
        """The program folders that are there; more than one only while an installation is under way or cut off."""
        return sorted(self.share.glob(f"{_FOLDER}*")) if self.share.is_dir() else []


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an installation put where."""

    version: str
    program: Path
    links: tuple[Path, ...]
    source: Path

    def as_data(self) -> dict[str, Any]:
        """The receipt as its file has it."""
        links = [str(link) for link in self.links]
        return {"version": self.version, "program": str(self.program), "links": links, "source": str(self.source)}


def place_of(environment: Path) -> Place | None:
    """The installation that a virtual environment belongs to; None for a checkout's .venv and any other."""
    share = environment.parent
    ours = environment.name.startswith(_FOLDER) and (share.name, share.parent.name) == ("minion-hq", "share")
    return Place(share.parent.parent) if ours else None


def read_receipt(place: Place) -> Receipt | None:
    """What the receipt says; None when there is none that can be read."""
    try:
        said = json.loads(place.receipt.read_bytes())
        links = tuple(Path(link) for link in said["links"])
        return Receipt(str(said["version"]), Path(said["program"]), links, Path(said["source"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_ours(place: Place, link: Path) -> bool:
    """Whether this is a link into the installation's own folder, whole or broken."""
    return link.is_symlink() and str(link.readlink()).startswith(f"{place.share}/{_FOLDER}")


def check_links(place: Place) -> None:
    """Refuse to touch a program of that name which no installation of ours put there. Raises `Refused`."""
    for link in place.links:
        if os.path.lexists(link) and not is_ours(place, link):
            raise Refused(
                "foreign_program",
                f"{link} is there already, and `make install` did not put it there.",
                hint=f"move it away, or install elsewhere: make install PREFIX={place.prefix.parent / 'minion'}",
            )


def place_links(place: Place, program: Path) -> None:
    """Lead every link to this program, each by one rename. Raises `Refused` when the disk refuses."""
    drafts: list[tuple[Path, Path]] = []
    try:
        for link in place.links:
            link.parent.mkdir(parents=True, exist_ok=True)
            draft = link.with_name(f".{link.name}.{os.getpid()}.part")
            draft.unlink(missing_ok=True)
            draft.symlink_to(program / "bin" / link.name)
            drafts.append((draft, link))
        for draft, link in drafts:
            draft.replace(link)
    except OSError as error:
        for draft, _ in drafts:
            draft.unlink(missing_ok=True)
        raise Refused(
            "links_not_placed", f"{place.prefix / 'bin'} cannot be written ({error.strerror}).",
            hint="check its rights, or name another folder: make install PREFIX=FOLDER",
        ) from error  # fmt: skip


def write_receipt(place: Place, receipt: Receipt) -> None:
    """Write the receipt whole or not at all."""
    draft = place.receipt.with_name(f".{place.receipt.name}.{os.getpid()}.part")
    draft.write_text(json.dumps(receipt.as_data(), indent=2) + "\n", encoding="utf-8")
    draft.replace(place.receipt)


def users_of(program: Path) -> list[int]:
    """The other processes that were started from a program folder; none where the system cannot tell."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if entry.read_bytes().startswith(os.fsencode(f"{program}/")) and int(entry.parent.name) != os.getpid():
                found.append(int(entry.parent.name))
    return sorted(found)


def check_unused(place: Place) -> None:
    """Refuse to take a program away from a process that runs from it. Raises `Refused`."""
    users = [number for program in place.programs() for number in users_of(program)]
    if users:
        says = f"The program in {place.share} is in use by process {users[0]}."
        raise Refused("program_in_use", says, hint="wait until it is done, or stop it")


def clear_programs(place: Place, *, but: Sequence[Path]) -> list[Path]:
    """Remove program folders that nothing leads to and no process uses; those that were removed."""
    gone = [program for program in place.programs() if program not in but and not users_of(program)]
    for program in gone:
        shutil.rmtree(program)
    return gone


def remove_program(place: Place) -> list[Path]:
    """Take an installation away, links first, so that no link to half a program stays; what was removed."""
    gone = [link for link in place.links if is_ours(place, link)]
    for link in gone:
        link.unlink()
    for program in place.programs():
        shutil.rmtree(program)
        gone.append(program)
    place.receipt.unlink(missing_ok=True)
    (place.share / "lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody else's file in there keeps the folder
        place.share.rmdir()
    return gone


@contextmanager
def only_one(place: Place) -> Iterator[None]:
    """Keep a second installation out until the block ends. Raises `Refused`."""
    try:
        place.share.mkdir(parents=True, exist_ok=True)
        fd = os.open(place.share / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        says = f"{place.share} cannot be written ({error.strerror})."
        raise Refused("cannot_install", says, hint="make install PREFIX=FOLDER, with one of your own") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        says = f"Another installation into {place.prefix} is under way."
        raise Refused("installing", says, hint="wait for it to end") from error
    try:
        yield
    finally:
        os.close(fd)


def install(place: Place, source: Path, python: str) -> Receipt:
    """Build the program from a checkout beside the one in use, prove it, switch the links, clear the old one away.

    Raises `Refused` with the earlier program working as before.
    """
    check_links(place)
    with only_one(place):
        standing = [link.readlink().parent.parent for link in place.links if is_ours(place, link)]
        clear_programs(place, but=standing)
        program = place.share / f"{_FOLDER}{secrets.token_hex(4)}"
        try:
            version = _build(program, source, python)
            check_links(place)
        except BaseException:
            shutil.rmtree(program, ignore_errors=True)
            raise
        place_links(place, program)
        receipt = Receipt(version, program, place.links, source)
        write_receipt(place, receipt)
        clear_programs(place, but=[program])
    return receipt


def _build(program: Path, source: Path, python: str) -> str:
    """A virtual environment with the locked libraries and this package, proved to be whole; its version."""
    inside = str(program / "bin" / "python")
    pip = [inside, "-I", "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    _say(f"building the program in {program} …")
    _do([python, "-I", "-m", "venv", str(program)], "your Python lacks venv; on Debian: apt install python3-venv")
    unreached = "see above; is the package registry reachable? What was installed before works as it did"
    _do([*pip, "--require-hashes", "-r", str(source / "requirements.lock")], unreached)
    _do([*pip, "--no-deps", str(source)], unreached)
    proved = subprocess.run(
        [inside, "-I", "-m", "minion.setup.installation", "prove"], capture_output=True, text=True, check=False
    )
    if proved.returncode != 0:
        said = " ".join(proved.stderr.split())[-300:] or "it says nothing"
        says = f"The program that was built does not work ({said})."
        raise Refused("not_whole", says, hint="make check; what was installed before works as it did")
    return proved.stdout.strip()


def _do(argv: list[str], hint: str) -> None:
    # What the tool prints is for the person who waits, and none of our data.
    if subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), check=False).returncode != 0:
        raise Refused("install_failed", "The program could not be built.", hint=hint)


def prove() -> str:
    """Look whether this program is whole: its bundled skills are there, as released; its version.

    Raises `Refused` naming what is not.
    """
    from importlib.metadata import version

    from minion.config import Home
    from minion.routines.template_list import templates
    from minion.skills.loader import is_pinned, load_skill, pinned_digests

    pinned, nowhere = pinned_digests(), Home(Path("/nonexistent"))
    changed = [name for name in pinned if not is_pinned(load_skill(nowhere, name), pinned)]
    if changed or not pinned or not templates():
        what = f"the skill {changed[0]} is not as released" if changed else "its skills or templates are missing"
        raise Refused("not_whole", f"The program is not whole: {what}.", hint="make check")
    return version("minion-hq")


def startup_line(folder: Path) -> str | None:
    """The line that brings a bin folder onto PATH; None when it is there."""
    there = {os.path.realpath(part) for part in search_path().split(os.pathsep) if part}
    return None if os.path.realpath(folder) in there else f'export PATH={shlex.quote(str(folder))}:"$PATH"'


def first_command(place: Place) -> str:
    """What to type after an installation: the program's name if the shell finds this one so, else its path."""
    found = shutil.which(PROGRAMS[0], path=search_path())
    ours = startup_line(place.prefix / "bin") is None and (found is None or Path(found) in place.links)
    return f"{PROGRAMS[0] if ours else shlex.quote(str(place.links[0]))} setup"


def check_user(user: int, *, chosen: bool) -> None:
    """Refuse root (user 0) a place that nobody chose. Raises `BadUse`."""
    if user == 0 and not chosen:
        says = "The minion is installed for one user and needs no root."
        raise BadUse("root", says, hint="call it as that user, or say where: make install PREFIX=FOLDER")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _print_installed(place: Place, receipt: Receipt) -> None:
    line, first = startup_line(place.prefix / "bin"), shutil.which(PROGRAMS[0], path=search_path())
    told = [
        f"minion {receipt.version} is installed; the checkout is not needed any more.",
        f"  program  {receipt.program}",
        *(f"  link     {link}" for link in receipt.links),
        f"  receipt  {place.receipt}",
    ]
    if line is not None:
        told.append(f"  PATH     {place.prefix / 'bin'} is not on it: add this line to your shell's startup file")
        told.append(f"           {line}")
    elif first is not None and Path(first) not in place.links:
        told.append(f"  PATH     another minion comes first: {first}")
    told.append(f"  next     {first_command(place)}")
    sys.stdout.write("\n".join(told) + "\n")


def _uninstall(place: Place, arguments: list[str]) -> int:
    """Have the installed program take itself away, or clear what is left of one that cannot."""
    link = place.links[0]
    if is_ours(place, link) and link.exists():
        os.execv(link, [str(link), "uninstall", *arguments])  # noqa: S606 - an argv list of our own program
    with contextlib.ExitStack() as stack:
        if place.share.is_dir():
            stack.enter_context(only_one(place))
        gone = remove_program(place)
    says = "\n".join(f"removed {path}" for path in gone) or f"There is no minion installed in {place.prefix}."
    sys.stdout.write(f"{says}\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """`install | uninstall | prove`, as the Makefile calls this module with `python -m`; the exit code."""
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    parser.add_argument("verb", choices=("install", "uninstall", "prove"))
    parser.add_argument("--prefix", type=Path, default=Path("~/.local"))
    parser.add_argument("--default-prefix", action="store_true", help="nobody chose the prefix")
    said, rest = parser.parse_known_args(arguments)
    place = Place(Path(os.path.abspath(said.prefix.expanduser())))  # noqa: PTH100 - links are kept as typed
    try:
        if said.verb == "prove":
            sys.stdout.write(prove() + "\n")
        elif said.verb == "uninstall":
            return _uninstall(place, rest)
        else:
            check_user(os.geteuid(), chosen=not said.default_prefix)
            _print_installed(place, install(place, Path.cwd(), sys.executable))
    except Refusal as refusal:
        _say(f"make {said.verb}: {refusal.sentence}\nhint: {refusal.hint}")
        return refusal.exit_code
    except KeyboardInterrupt:
        _say("")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
