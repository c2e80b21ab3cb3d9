"""`minion uninstall`: removes the home and the program it names first, and lists what remains outside."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from minion.commands.context import home_of, print_json
from minion.config import Home, held, load_config
from minion.secrets_file import read_secrets
from minion.setup.home_removal import Contents, look_into, measure, remove_home
from minion.setup.installation import Place, check_unused, is_ours, place_of, read_receipt, remove_program
from minion.spelling import plain
from minion.store.local_db import read_only
from minion.store.outside import counted, effects_outside
from server.contract.refusals import BadUse, Refusal, Refused

if TYPE_CHECKING:
    from minion.setup.service import Unit

# Where the first lines of a completion script tell people to put it, and where they may have put a line.
_COMPLETIONS: Final = (
    ".local/share/bash-completion/completions/minion", ".zfunc/_minion", ".config/fish/completions/minion.fish",
)  # fmt: skip
_STARTUP: Final = (".bashrc", ".bash_profile", ".profile", ".zshrc", ".config/fish/config.fish")
_UNDO: Final[Mapping[str, str]] = {
    "message": "it may have been read: delete it there",
    "pull_request": "close it on its page",
    "comment": "delete it on its page",
    "push": "delete the branch there",
}


@dataclass(slots=True)
class Farewell:
    """What goes, what stays, and what remains in other places, as the JSON document has it."""

    removed: list[dict[str, Any]] = field(default_factory=list)
    kept: list[dict[str, str]] = field(default_factory=list)
    outside: list[dict[str, str]] = field(default_factory=list)


@click.command("uninstall")
@click.option("--keep-data", is_flag=True, help="Remove the program only; the home stays as it is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: removed, kept, outside.")
@click.pass_context
def command(ctx: click.Context, keep_data: bool, yes: bool, as_json: bool) -> None:
    """Remove the program and the home; list what remains.

    It says first what will go: the home with its routines, runs, secrets and own skills, and what `make install`
    put into its share and bin folders. It asks for the minion's name; without a terminal it needs --yes. Of a
    home only the minion's own entries are removed, and no link is followed. If it is cut off, call it again.

    What your routines did elsewhere stays there: pushed branches, pull requests, comments, messages. They are
    listed with the command that takes each back, as far as the runs still kept tell.

    A home that another process works in is refused (exit code 3): `minion down` has a daemon end, and the service
    that would start it goes with the program. A program in a checkout's .venv goes with the checkout, which is
    yours to delete.

    \b
    Examples:
      minion uninstall
      minion uninstall --keep-data
      minion --home ~/minions/shop uninstall --yes --json
    """
    home, place = home_of(ctx), place_of(Path(sys.prefix))
    with contextlib.ExitStack() as stack:
        if look_into(home) is not None:
            stack.enter_context(held(home, "minion uninstall"))
        contents = look_into(home)
        farewell, unit = Farewell(), _unit(home)
        name = _tell_home(farewell, home, contents, keep_data)
        _tell_service(farewell, unit)
        _tell_program(farewell, place)
        _tell_completions(farewell)
        _print(farewell, err=as_json)
        if farewell.removed and not yes:
            ask(name if contents is not None and not keep_data else None, keep_data=keep_data)
        # The service first: it would start what is gone. Then data: while the program stands, a removal that was
        # cut off can be called again.
        if unit is not None:
            _remove_service(unit)
        if contents is not None and not keep_data:
            remove_home(look_into(home) or contents)  # reading the store has put SQLite's own files beside it
        if place is not None:
            _remove_program(place)
    if as_json:
        print_json({"removed": farewell.removed, "kept": farewell.kept, "outside": farewell.outside})
    elif farewell.removed:
        click.echo("\nRemoved.")


def _tell_home(farewell: Farewell, home: Home, contents: Contents | None, keep_data: bool) -> str:
    """What becomes of the home, and what its store knows of the outside; the minion's name."""
    if contents is None:
        farewell.kept.append({"path": str(home.root), "why": "there is no minion in it: nothing to remove"})
        return ""
    name = home.root.name
    with contextlib.suppress(Refusal):
        name = load_config(home).name
    facts = {"files": contents.files, "bytes": contents.bytes} | _tell_store(farewell, home)
    names = _secret_names(home)
    if keep_data:
        farewell.kept.append({"path": str(home.root), "why": "its data is kept, with --keep-data"})
        return name
    farewell.removed.append({"what": "home", "path": str(home.root), "minion": name, **facts, "secrets": names})
    for other in contents.others:
        farewell.kept.append({"path": str(other), "why": "no minion put it there"})
    for link in (entry for entry in contents.ours if entry.is_symlink()):
        why = f"the home's {link.name} is a link to it: the link goes"
        farewell.kept.append({"path": str(link.resolve()), "why": why})
    for secret in names:
        undo = "it stays valid where it was made: revoke it there"
        farewell.outside.append({"kind": "secret", "what": secret, "undo": undo})
    return name


def _tell_store(farewell: Farewell, home: Home) -> dict[str, int]:
    if not home.store.exists():
        return {"routines": 0, "runs": 0}
    try:
        with read_only(home.store) as db:
            done, facts = effects_outside(db), counted(db)
    except Refusal as refusal:
        undo = "look at the places your routines write to"
        farewell.outside.append({"kind": "unknown", "what": refusal.sentence, "undo": undo})
        return {}
    for effect in done:
        if not (effect["destination"] or "").startswith(f"{home.root}/"):
            farewell.outside.append(_standing(effect))
    return facts


def _standing(effect: Mapping[str, Any]) -> dict[str, str]:
    where = effect["destination"] or effect["target"]
    times = f", {effect['times']} times" if effect["times"] > 1 else ""
    unsure = ", perhaps" if effect["state"] in ("unknown", "intended") else ""
    what = f"{where} (by {effect['routine']}{times}{unsure})"
    return {"kind": effect["kind"], "what": what, "undo": effect["reverse"] or _UNDO.get(effect["kind"], "")}


def _secret_names(home: Home) -> list[str]:
    try:
        return sorted(read_secrets(home.secrets_file))
    except Refusal:
        return ["secrets.json, which cannot be read"]


def _unit(home: Home) -> Unit | None:
    """The service that was installed for this home; None where there is none that could be told or taken away."""
    from minion.setup.service import read_unit, unit_of

    with contextlib.suppress(Refusal):
        unit = unit_of(home, load_config(home))
        return unit if read_unit(unit) is not None else None
    return None


def _tell_service(farewell: Farewell, unit: Unit | None) -> None:
    if unit is None:
        return
    from minion.setup.service import check_removable

    try:
        check_removable(unit)
    except Refusal as refusal:
        undo = "it starts a program that is gone: take it away yourself"
        farewell.outside.append({"kind": "service", "what": refusal.sentence, "undo": undo})
    else:
        farewell.removed.append({"what": "service", "path": str(unit.file)})


def _remove_service(unit: Unit) -> None:
    from minion.commands.service import take_away
    from minion.setup.service import check_removable

    try:
        check_removable(unit)
    except Refusal:
        return  # it is listed among what remains
    take_away(unit, stop=True)


def _tell_program(farewell: Farewell, place: Place | None) -> None:
    """What becomes of the program that is running. Raises `Refused` while others run from it."""
    if place is None:
        package = Path(__file__).resolve().parents[2]
        checkout = (package / "pyproject.toml").is_file()
        why = "the program runs from this checkout: delete that folder yourself"
        other = "`make install` did not put the program there: remove it as you put it there"
        farewell.kept.append({"path": str(package if checkout else sys.prefix), "why": why if checkout else other})
        return
    check_unused(place)
    receipt = read_receipt(place)
    for program in place.programs():
        files, size = measure([program])
        farewell.removed.append({"what": "program", "path": str(program), "files": files, "bytes": size})
    farewell.removed += [{"what": "link", "path": str(link)} for link in place.links if is_ours(place, link)]
    if receipt is not None and receipt.source.is_dir():
        undo = "no longer needed by the program; delete it if you like"
        farewell.outside.append({"kind": "checkout", "what": str(receipt.source), "undo": undo})


def _tell_completions(farewell: Farewell) -> None:
    for name in _COMPLETIONS:
        file = Path.home() / name
        if file.exists():
            farewell.outside.append({"kind": "completion", "what": str(file), "undo": f"rm {file}"})
    for name in _STARTUP:
        file = Path.home() / name
        with contextlib.suppress(OSError):
            if b"minion completion" in file.read_bytes():
                undo = "take the line `minion completion …` out of it"
                farewell.outside.append({"kind": "completion", "what": str(file), "undo": undo})


def ask(name: str | None, *, keep_data: bool) -> None:
    """Ask on the terminal: for the minion's name when its data goes. Raises `BadUse` with nothing changed."""
    if not sys.stdin.isatty():
        says = "There is no terminal to ask on; nothing was removed."
        raise BadUse("not_confirmed", says, hint=f"minion uninstall{' --keep-data' * keep_data} --yes")
    if name is None:
        sure = click.confirm("\nRemove it?", err=True)
    else:
        said = click.prompt(f"\nType {name} to remove it", default="", show_default=False, err=True)
        sure = said.strip() == name
    if not sure:
        raise BadUse("not_confirmed", "Nothing was removed.", hint="`minion uninstall --keep-data` keeps the home")


def _remove_program(place: Place) -> None:
    try:
        remove_program(place)
    except OSError as error:
        says = f"{error.filename or place.share} cannot be removed ({error.strerror})."
        raise Refused("not_removed", says, hint=f"put that right, then: rm -rf {place.share}") from error


def _print(farewell: Farewell, *, err: bool) -> None:
    removed = [(item["what"], f"{item['path']}{_facts(item)}") for item in farewell.removed]
    kept = [("", f"{item['path']}: {item['why']}") for item in farewell.kept]
    outside = [
        part
        for item in farewell.outside
        for part in ((item["kind"].replace("_", " "), item["what"]), ("", f"→ {item['undo']}"))
    ]
    click.echo("\n".join(_section("This will be removed:", removed)), err=err)
    if kept:
        click.echo("\n".join(_section("This will stay:", kept)), err=err)
    if outside:
        title = "This remains outside, for you to take back where you want to:"
        click.echo("\n".join(_section(title, outside)), err=err)


def _section(title: str, pairs: Iterable[tuple[str, str]]) -> list[str]:
    pairs = list(pairs)
    widest = max((len(name) for name, _ in pairs), default=0)
    told = [f"  {name:<{widest}}  {plain(text)}" if widest else f"  {plain(text)}" for name, text in pairs]
    return [click.style(title, bold=True), *(told or ["  nothing"])]


def _facts(item: Mapping[str, Any]) -> str:
    if "bytes" not in item:
        return ""
    counts = [
        f"{item[name]:,} {name if item[name] != 1 else name[:-1]}"
        for name in ("routines", "runs", "files")
        if name in item
    ]
    minion_ = [item["minion"]] if "minion" in item else []
    secrets = [f"secrets: {', '.join(item['secrets'])}"] if item.get("secrets") else []
    return "  " + ", ".join([*minion_, *counts, _size(item["bytes"]), *secrets])


def _size(number: int) -> str:
    return f"{number / 1e6:,.1f} MB" if number >= 100_000 else f"{number / 1e3:,.1f} kB"
