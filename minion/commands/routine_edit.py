"""`minion routine edit`: a routine's file in the person's own editor, kept only when it is one still."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minion.commands.added import print_added
from minion.commands.completion import complete_routine
from minion.commands.context import home_of, owning, shown_path, warn
from minion.config import editors, load_config, unwritable
from minion.store.local_db import read_only
from minion.store.routines import find_routine
from server.contract.refusals import NotFound, Refusal, Refused

if TYPE_CHECKING:
    from minion.app import Added
    from minion.config import Home


@click.command("edit")
@click.argument("routine", metavar="NAME", shell_complete=complete_routine)
@click.pass_context
def edit(ctx: click.Context, routine: str) -> None:
    """Change a routine's file in your editor.

    The editor is what VISUAL or EDITOR names, else nano or vi. You edit a draft: the routine stays as it is
    until the draft passes every check. A draft that does not pass can be edited again, and is kept for the next
    `routine edit` otherwise. The name stays: another name is another routine.

    \b
    Examples:
      minion routine edit morning-report
    """
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
        kept = find_routine(db, routine)
    file = Path(kept.source)
    begun = _read(file)
    draft = file.with_name(f".{kept.name}.draft{file.suffix}")
    if draft.exists():
        later = "; the routine itself was changed after it" if file.stat().st_mtime > draft.stat().st_mtime else ""
        warn(f"Going on with the draft of last time, {shown_path(draft)}{later}.")
    else:
        _begin(draft, begun)
    _edit_until_good(ctx, home, kept.name, draft, begun)


def _begin(draft: Path, body: bytes) -> None:
    try:
        draft.touch(mode=0o600)
        draft.write_bytes(body)  # byte for byte: a file with a bad byte in it is what people edit to mend it
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise unwritable(draft, error) from error


def _edit_until_good(ctx: click.Context, home: Home, name: str, draft: Path, begun: bytes) -> None:
    while True:
        _open_editor(draft, begun)
        if _read(draft) == begun:
            draft.unlink()
            click.echo("Nothing was changed.")
            return
        try:
            added = owning(_keep(home, name, draft, begun))
        except Refusal as refusal:
            if not (sys.stdin.isatty() and sys.stdout.isatty()):
                raise _with_draft(refusal, draft) from None
            click.echo(f"{refusal.sentence}\nhint: {refusal.hint}", err=True)
            if not click.confirm("Edit it again?", default=True, err=True):
                raise _with_draft(refusal, draft) from None
        else:
            draft.unlink(missing_ok=True)
            print_added(ctx, added)
            return


def _with_draft(refusal: Refusal, draft: Path) -> Refusal:
    """The same refusal, whose hint also says where the work is: nothing that was typed is lost."""
    return type(refusal)(refusal.code, refusal.sentence, hint=f"{refusal.hint} (your draft is kept: {draft})")


def _open_editor(draft: Path, begun: bytes) -> None:
    """Have the draft edited, and wait. Raises `Refused` without an editor, and when it did not end well."""
    wanted = next((words for words in map(_words, editors()) if words and shutil.which(words[0])), None)
    if wanted is None:
        draft.unlink()
        raise Refused("no_editor", "No editor was found.", hint="export EDITOR=nano, or the one you like")
    ended = subprocess.run([*wanted, os.fspath(draft)], check=False)
    if ended.returncode == 0:
        return
    hint = f"your draft is kept: {draft}"
    if _read(draft) == begun:
        draft.unlink()
        hint = "name one that works: export EDITOR=nano"
    says = f"The editor {wanted[0]} ended with {ended.returncode}; the routine is as it was."
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


async def _keep(home: Home, name: str, draft: Path, begun: bytes) -> Added:
    from minion.app import opened
    from minion.clock import utc_now

    async with opened(home, f"minion routine edit {name}", clock=utc_now, alert=warn) as minion:
        return await minion.edit_routine(name, draft, begun=begun, folder=Path.cwd())
