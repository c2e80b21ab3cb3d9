"""`minion routine edit`: a routine's file in the person's own editor, kept only when it is one still."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minion.commands.added import print_added
from minion.commands.completion import complete_routine
from minion.commands.context import as_called, home_of, shown_path, warn
from minion.commands.owner import edit_routine
from minion.config import editors, is_slug, load_config, unwritable
from minion.routines.files import routine_files
from minion.spelling import plain
from minion.store.local_db import read_only
from minion.store.routines import find_routine
from server.contract.refusals import NotFound, Refusal, Refused

if TYPE_CHECKING:
    from minion.config import Home
    from minion.routines.added import Added


@click.command("edit")
@click.argument("routine", metavar="NAME", shell_complete=complete_routine)
@click.option("--discard", is_flag=True, help="Throw away the draft that was kept, and edit nothing.")
@click.pass_context
def edit(ctx: click.Context, routine: str, discard: bool) -> None:
    """Change a routine's file in your editor.

    The editor is what VISUAL or EDITOR names, else nano or vi. You edit a draft: the routine stays as it is
    until the draft passes every check. A draft that does not pass can be edited again, and is kept for the next
    `routine edit` otherwise; --discard throws it away. The name stays: another name is another routine. A file
    in the home that was never taken in, because it does not pass, can be mended so too.

    \b
    Examples:
      minion routine edit morning-report
      minion routine edit morning-report --discard
    """
    home = home_of(ctx)
    load_config(home)
    file = _file_of(home, routine)
    draft = file.with_name(f".{file.stem}.draft{file.suffix}")
    if discard:
        _discard(draft, file.stem)
        return
    sitting = _Sitting(ctx, home, file.stem, draft, _read(file))
    editor = _editor(file)
    if draft.exists():
        later = "; the routine itself was changed after it" if file.stat().st_mtime > draft.stat().st_mtime else ""
        away = as_called(ctx, f"`minion routine edit {file.stem} --discard`")
        warn(f"Going on with the draft of last time, {shown_path(draft)}{later}; {away} throws it away.")
    else:
        _begin(draft, sitting.begun)
    _edit_until_good(sitting, editor)


@dataclass(frozen=True, slots=True)
class _Sitting:
    """One editing: of which routine, on which draft, and what its file held (`begun`)."""

    ctx: click.Context
    home: Home
    name: str
    draft: Path
    begun: bytes

    @property
    def kept(self) -> str:
        """Where the work is, for a hint: nothing that was typed is lost."""
        return f"your draft is kept: {self.draft}; `minion routine edit {self.name} --discard` throws it away"


def _file_of(home: Home, routine: str) -> Path:
    """The routine's file: the one of that name in the home, admitted or not, else what the store says."""
    files = routine_files(home, routine) if is_slug(routine) else []
    if files:
        return files[0]
    with read_only(home.store) as db:
        return Path(find_routine(db, routine).source)


def _discard(draft: Path, name: str) -> None:
    try:
        draft.unlink()
    except FileNotFoundError:
        click.echo(f"There is no draft of {name}.")
    except OSError as error:
        raise unwritable(draft, error) from error
    else:
        click.echo(f"The draft of {name} is thrown away; the routine is as it was.")


def _begin(draft: Path, body: bytes) -> None:
    try:
        draft.touch(mode=0o600)
        draft.write_bytes(body)  # byte for byte: a file with a bad byte in it is what people edit to mend it
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise unwritable(draft, error) from error


def _edit_until_good(sitting: _Sitting, editor: list[str]) -> None:
    draft = sitting.draft
    while True:
        _open_editor(sitting, editor)
        if _read(draft) == sitting.begun:
            draft.unlink()
            click.echo("Nothing was changed.")
            return
        try:
            added = _keep(sitting)
        except Refusal as refusal:
            said = _with_draft(refusal, sitting)
            if not _at_terminal():
                raise said from None
            click.echo(f"{refusal.sentence}\nhint: {as_called(sitting.ctx, _hint(refusal, sitting))}", err=True)
            if not click.confirm("Edit it again?", default=True, err=True):
                raise said from None
        else:
            draft.unlink(missing_ok=True)
            print_added(sitting.ctx, added)
            return


def _hint(refusal: Refusal, sitting: _Sitting) -> str:
    if refusal.code == "routine_name":
        other = "another name is another routine, which `minion routine add FILE` adds"
        return f"put `name: {sitting.name}` back, the name stays: {other}"
    return refusal.hint


def _with_draft(refusal: Refusal, sitting: _Sitting) -> Refusal:
    """The same refusal, whose hint also says where the work is."""
    hint = f"{_hint(refusal, sitting)} ({sitting.kept})"
    return type(refusal)(refusal.code, refusal.sentence, hint=hint)


def _at_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _editor(file: Path) -> list[str]:
    """The editor's command: what VISUAL or EDITOR says, else one that is here, which needs a terminal.

    Raises `Refused` when there is none, and without a terminal.
    """
    said, others = editors()
    for variable, command in said.items():
        words = _words(command)
        if words and shutil.which(words[0]):
            return words
        warn(f"{variable} names an editor that is not here: {plain(command)}")
    here = next((other for other in others if shutil.which(other)), None)
    otherwise = f"edit {file}, then `minion routine add {shlex.quote(str(file))} --replace`"
    variable = next(iter(said), "EDITOR")
    if here is None:
        hint = f"name one with `export {variable}=PROGRAM`; or {otherwise}"
        raise Refused("no_editor", "No editor was found.", hint=hint)
    if not _at_terminal():
        hint = f"name an editor that needs none with `export {variable}=PROGRAM`; or {otherwise}"
        raise Refused("no_terminal", f"There is no terminal to open {here} on.", hint=hint)
    return [here]


def _open_editor(sitting: _Sitting, editor: list[str]) -> None:
    """Have the draft edited, and wait. Raises `Refused` when that did not end well."""
    draft = sitting.draft
    try:
        status = subprocess.run([*editor, os.fspath(draft)], check=False).returncode
        ended = f"ended with {status}" if status >= 0 else f"was ended by signal {-status}"
    except OSError as error:  # found, and no program for this machine
        status, ended = 1, f"cannot be started ({error.strerror})"
    if status == 0:
        return
    hint = sitting.kept
    if _read(draft) == sitting.begun:
        draft.unlink()
        said, others = editors()
        here = next((other for other in others if other != editor[0] and shutil.which(other)), "PROGRAM")
        hint = f"name another editor with `export {next(iter(said), 'EDITOR')}={here}`"
    says = f"The editor {editor[0]} {ended}; the routine is as it was."
    raise Refused("editor_failed", says, hint=hint)


def _words(said: str) -> list[str]:
    """A command as its words, such as `code --wait`; no shell ever sees it."""
    try:
        return shlex.split(said)
    except ValueError:
        return []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        says = f"{path} cannot be read ({error.strerror})."
        raise NotFound("no_file", says, hint="minion routine list") from error


def _keep(sitting: _Sitting) -> Added:
    command, body = f"minion routine edit {sitting.name}", _read(sitting.draft)
    return edit_routine(sitting.home, sitting.name, sitting.draft, body, begun=sitting.begun, command=command)
