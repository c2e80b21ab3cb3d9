"""`hq verify`: whether the log is whole and unchanged, and how far it has come."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.commands.context import home_of, print_json, say

if TYPE_CHECKING:
    from server.storage.audit import Audit
    from server.storage.event_store import Checkpoint

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("verify")
@click.option("--against", type=_FILE, metavar="FILE", help="An earlier checkpoint: the log must hold all it had.")
@click.option("--checkpoint", type=_FILE, metavar="FILE", help="Write down how far a whole log has come.")
@click.option("--backup", type=_FILE, metavar="FILE", help="Look through this backup, not the home's store.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    ctx: click.Context, against: Path | None, checkpoint: Path | None, backup: Path | None, as_json: bool
) -> int:
    """Check that the log is whole, and that what HQ shows follows from it; name what does not.

    Every event and step log is hashed together with the one before it, in each run and over all of HQ; runs, gaps,
    decisions, routines and tokens are held against what the log says of them. Alone, that finds what was changed,
    removed, put in or put elsewhere. Whoever may write the file can make all hashes anew,
    or cut off the newest entries: keep checkpoints on another machine, and give the newest with --against. The
    same FILE may be given for both.

    Exit code 0 when all is whole, 1 when anything is not. It reads beside a running HQ.

    \b
    Examples:
      hq verify
      hq verify --against last.json --checkpoint last.json
      hq verify --backup hq-monday.db --json
    """
    from server.storage.audit import audit
    from server.storage.migrations import examine_backup

    if backup is not None:
        examine_backup(backup)
    earlier = _read(against) if against is not None else None
    progress = _Progress()
    found = audit(backup or home_of(ctx).store, against=earlier, told=progress.told)
    progress.end()
    if checkpoint is not None and found.intact:
        _write(checkpoint, found.end)
    if as_json:
        print_json(_document(found, earlier))
    else:
        _show(found, earlier, checkpoint)
    return 0 if found.intact else 1


def _document(found: Audit, earlier: Checkpoint | None) -> dict[str, Any]:
    return {
        "intact": found.intact, "events": found.events, "steps": found.steps, "runs": found.runs,
        "end": {"position": found.end.position, "hash": found.end.hash},
        "against": earlier.position if earlier is not None else None, "found": found.found,
        "breaches": [
            {"chain": each.chain, "position": each.position, "what": each.what} for each in found.breaches
        ],
    }  # fmt: skip


def _show(found: Audit, earlier: Checkpoint | None, checkpoint: Path | None) -> None:
    from server.storage.derived import SHOWN

    counts = (("event", found.events), ("step", found.steps), ("run", found.runs))
    size = ", ".join(f"{many:,} {noun}{'' if many == 1 else 's'}" for noun, many in counts)
    if found.intact:
        since = f", and holds all it had at event {earlier.position:,}" if earlier is not None else ""
        click.echo(f"✓ The log is whole: {size}{since}.")
        click.echo(f"  It ends at event {found.end.position:,}, {found.end.hash}.")
        if checkpoint is not None:
            say(f"The checkpoint is in {checkpoint}: keep it on another machine.")
        elif earlier is None:
            say("Without an earlier checkpoint, nobody can tell whether it was cut short or rewritten as a whole.")
        return
    whole = all(each.chain in SHOWN for each in found.breaches)
    wrong = "The log is whole, and what HQ shows does not follow from it" if whole else "The log is broken"
    click.echo(f"✗ {wrong} ({size}):")
    for each in found.breaches:
        where = f" at {each.position:,}" if each.position is not None else ""
        click.echo(f"  {each.chain}{where}: {each.what}")
    if found.found > len(found.breaches):
        click.echo(f"  … and {found.found - len(found.breaches):,} more")
    if checkpoint is not None:
        say("No checkpoint was written.")


def _read(path: Path) -> Checkpoint:
    from server.contract.refusals import NotFound
    from server.storage.audit import from_json

    try:
        return from_json(path.read_bytes(), str(path))
    except OSError as error:
        says = f"The checkpoint {path} cannot be read ({error.strerror})."
        raise NotFound("no_checkpoint_file", says, hint="hq verify --checkpoint FILE writes one") from error


def _write(path: Path, end: Checkpoint) -> None:
    """Put a checkpoint in a file, in the place of an earlier one and of nothing else."""
    from server.clock import utc_now
    from server.contract.digest import instant
    from server.contract.refusals import StoreFailed
    from server.storage.audit import as_json

    if path.exists():
        _read(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(as_json(end, made_at=instant(utc_now())))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        says = f"The checkpoint {path} cannot be written ({error.strerror})."
        raise StoreFailed("checkpoint_failed", says, hint="check the rights of its folder") from error


class _Progress:
    """On a terminal, how many rows were read so far."""

    def __init__(self) -> None:
        self._rows = 0
        self._shown = sys.stderr is not None and sys.stderr.isatty()

    def told(self, rows: int) -> None:
        self._rows += rows
        if self._shown:
            click.echo(f"\r{self._rows:,} rows read …", err=True, nl=False)

    def end(self) -> None:
        if self._shown and self._rows:
            click.echo("\r" + " " * 40 + "\r", err=True, nl=False)
