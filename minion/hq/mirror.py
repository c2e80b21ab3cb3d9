"""What HQ gave a minion: routines and skills in one folder of the home, changed from one whole state to the next.

`HOME/hq/current` is a link to the state in force; a new one is made beside it, on the disk before the link turns.
Nothing in it is for people to edit: the link `HOME/routines/hq` shows its routines where routines lie.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from minion.config import Home, is_slug, unwritable
from minion.routines.files import hq_routines
from minion.skills.archive import read_files
from server.contract.digest import canonical_json, digest_tree, is_id
from server.contract.refusals import BadDocument

_MOST_RELEASED: Final = 1000
_STATE: Final = re.compile(r"state-([0-9]{1,12})")
_MANIFEST: Final = "held.json"


@dataclass(frozen=True, slots=True)
class Held:
    """What a minion has of HQ's, and how far it has heard (`cursor`, as HQ said it).

    `routines` by id: name, digest, `begins` (the instant from which on its slots are this minion's); `skills` are
    digests by name; `released` are routines that this minion starts no more, and up to when it saw to their slots,
    as far as was known when it let go.
    """

    cursor: str | None = None
    routines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    skills: Mapping[str, str] = field(default_factory=dict)
    released: Mapping[str, str] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """As it is written to the state's manifest."""
        return {
            "cursor": self.cursor, "routines": dict(self.routines), "skills": dict(self.skills),
            "released": dict(self.released),
        }  # fmt: skip


def held(home: Home) -> Held:
    """What the minion has; nothing where it never took anything, or somebody broke it: it is asked for anew."""
    try:
        said = json.loads((_current(home) / _MANIFEST).read_bytes())
        return Held(said["cursor"], said["routines"], said["skills"], said["released"])
    except (OSError, ValueError, KeyError, TypeError):
        return Held()


def begins_of(home: Home) -> dict[str, str]:
    """From when on the slots of HQ's routines are this minion's, by id, where HQ said so."""
    return {key: str(kept["begins"]) for key, kept in held(home).routines.items() if kept.get("begins")}


def take_in(home: Home, said: Mapping[str, Any], handled: Mapping[str, str]) -> Held:
    """Go over to what HQ says that has changed (the wire's `Differences`), all or nothing; what is held then.

    `handled` is up to when the minion saw to the slots of each routine that it has. Raises `BadDocument` for what
    is none of HQ's words, `Refused` when the disk refuses; what was held stays then.
    """
    before = held(home)
    after, documents, skills = _planned(before, said, handled)
    state = _next_state(home)
    try:
        _write_state(home, state, before, after, documents, skills)
        _turn(home, state)
        _show(home)
    except OSError as error:
        shutil.rmtree(state, ignore_errors=True)
        raise unwritable(state, error) from error
    _forget_older(home, state)
    return after


def let_go(home: Home) -> None:
    """Have nothing of HQ's any more."""
    with contextlib.suppress(OSError):
        hq_routines(home).unlink()
    shutil.rmtree(_folder(home), ignore_errors=True)


def _folder(home: Home) -> Path:
    return home.root / "hq"


def _current(home: Home) -> Path:
    return _folder(home) / "current"


def _planned(
    before: Held, said: Mapping[str, Any], handled: Mapping[str, str]
) -> tuple[Held, dict[str, str], dict[str, dict[str, bytes]]]:
    """What will be held, the routines' new texts by name, the new skills' files by name."""
    try:
        gone = {str(each) for each in said["gone"]}
        routines = {key: dict(kept) for key, kept in before.routines.items() if key not in gone}
        documents, released = {}, dict(before.released)
        for each in said["routines"]:
            entry, text = _routine(each, before.routines.get(each["id"], {}))
            routines[each["id"]], documents[entry["name"]] = entry, text
        skills = {each["name"]: _skill(each) for each in said["skills"]}
        digests = {**before.skills, **{each["name"]: str(each["digest"]) for each in said["skills"]}}
        cursor = str(said["cursor"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        says = f"HQ's answer is not one that this minion understands ({type(error).__name__}: {error})."
        raise BadDocument("bad_differences", says[:300], hint="bring HQ and the minion to one version") from error
    names = [entry["name"] for entry in routines.values()]
    if len(names) != len(set(names)):
        says = "HQ gave this minion two routines of one name."
        raise BadDocument("bad_differences", says, hint="rename one of them at HQ")
    for key, kept in before.routines.items():
        if kept["fires"] and not (key in routines and routines[key]["fires"]):
            released[key] = max(handled.get(key, ""), str(kept["begins"]))
    for key, kept in routines.items():
        if kept["fires"]:
            released.pop(key, None)
    newest = dict(list(released.items())[-_MOST_RELEASED:])
    return Held(cursor, routines, digests, newest), documents, skills


def _routine(said: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    document = said["document"]
    name = document["name"]
    if not (isinstance(name, str) and is_slug(name) and is_id(said["id"], "trig_")):
        raise ValueError("a routine without a good name or id")
    if document["id"] != said["id"]:
        raise ValueError("a routine of two ids")
    begins = said.get("handled_until") or before.get("begins") or ""
    fires = document["scheduled_by"] == "minion"
    entry: dict[str, Any] = {"name": name, "digest": str(said["digest"]), "begins": str(begins), "fires": fires}
    entry["skills"] = [str(skill) for skill in document["pipeline"]]
    return entry, canonical_json(document) + "\n"


def _skill(said: Mapping[str, Any]) -> dict[str, bytes]:
    name = said["name"]
    if not (isinstance(name, str) and is_slug(name)):
        raise ValueError("a skill without a good name")
    reading = read_files(name, {path: text.encode() for path, text in said["files"].items()})
    files = dict(reading.accepted())
    if digest_tree(files) != said["digest"]:
        raise ValueError(f"the skill {name} is not what its digest says")
    return files


def _next_state(home: Home) -> Path:
    """The folder of the next state; what a process left there that died is removed."""
    with contextlib.suppress(OSError):
        here = _STATE.fullmatch(_current(home).readlink().name)
        number = int(here[1]) + 1 if here else 1
        return _folder(home) / f"state-{number}"
    return _folder(home) / "state-1"


def _write_state(
    home: Home, state: Path, before: Held, after: Held, documents: Mapping[str, str],
    skills: Mapping[str, Mapping[str, bytes]],
) -> None:  # fmt: skip
    shutil.rmtree(state, ignore_errors=True)
    for folder in (_folder(home), state, state / "routines", state / "skills"):
        folder.mkdir(mode=0o700, exist_ok=True)
    for kept in after.routines.values():
        name = f"{kept['name']}.json"
        if kept["name"] in documents:
            _write(state / "routines" / name, documents[kept["name"]].encode())
        else:
            os.link(_current(home) / "routines" / name, state / "routines" / name)
    for name in after.skills:
        target = state / "skills" / name
        if name in skills:
            for path, body in skills[name].items():
                file = target / path
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _write(file, body)
        elif name in before.skills:
            shutil.copytree(_current(home) / "skills" / name, target, symlinks=True, copy_function=os.link)
    _write(state / _MANIFEST, canonical_json(after.as_data()).encode())
    for folder in _folders(state):
        _sync(folder)


def _write(path: Path, body: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(fd, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _folders(root: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(root):
        yield Path(folder)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _turn(home: Home, state: Path) -> None:
    """Put a state in force: the link is replaced in one step."""
    draft = _folder(home) / ".current"
    draft.unlink(missing_ok=True)
    draft.symlink_to(state.name)
    draft.replace(_current(home))
    _sync(_folder(home))


def _show(home: Home) -> None:
    """Show HQ's routines where routines lie."""
    place, target = hq_routines(home), os.path.relpath(_current(home) / "routines", home.routines)
    if place.is_symlink() and os.readlink(place) == target:  # noqa: PTH115 - as it is written, not resolved
        return
    place.unlink(missing_ok=True)
    home.routines.mkdir(mode=0o700, exist_ok=True)
    place.symlink_to(target)


def _forget_older(home: Home, state: Path) -> None:
    """Remove states before the last one: that one may still be read by who began a moment ago."""
    found = [(int(said[1]), entry) for entry in _folder(home).iterdir() if (said := _STATE.fullmatch(entry.name))]
    number = int(state.name.removeprefix("state-"))
    for each, entry in found:
        if each < number - 1 or each > number:
            shutil.rmtree(entry, ignore_errors=True)

