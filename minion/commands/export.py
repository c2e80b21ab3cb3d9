"""`minion export`: routines to take elsewhere, and runs to keep or read elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from minion.commands.completion import complete_routine
from minion.commands.context import home_of, shown_path, warn
from minion.commands.run_markdown import run_markdown
from minion.config import load_config, unwritable, write_private
from minion.store.local_db import read_only
from minion.store.routines import KeptRoutine, find_routine, list_routines
from minion.store.run_events import run_events
from minion.store.run_history import find_run, list_runs, results_of, seal_of, whole_run
from server.contract.refusals import BadUse, NotFound, Refused

if TYPE_CHECKING:
    from minion.config import Home
    from minion.routines.portable import Format
    from minion.store.admissions import Reader

_FORMATS: Final = ("yaml", "markdown", "jsonl")
_SUFFIX: Final = {"yaml": ".yaml", "markdown": ".md", "jsonl": ".jsonl"}
_ALL: Final = 100_000


@click.command("export")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_routine)
@click.option("--runs", is_flag=True, help="Export runs: of the routines named, or those whose ids are given.")
@click.option("--format", "format_", type=click.Choice(_FORMATS), help="[default: yaml; with --runs: jsonl]")
@click.option("--output", "-o", metavar="FILE|FOLDER/", help="Write there; into a folder, one file for each.")
@click.pass_context
def command(
    ctx: click.Context, names: tuple[str, ...], runs: bool, format_: Format | None, output: str | None
) -> None:
    """Write out routines, or runs, to standard output or a file.

    Routines (all, or those named) come as YAML with their comments, as Markdown with the prompt as its text, or as
    JSON lines; minion import takes each of them. This minion's id stays out. Secrets are never in a routine, and
    skills of your own are not in it either: which ones it needs is said.

    With --runs: JSON lines with everything that is kept of a run, its events and the hashes that seal it, or
    Markdown to read. Runs are a record of what happened here, so import does not take them.

    \b
    Examples:
      minion export > routines.yaml
      minion export morning-report --format markdown -o morning-report.md
      minion export -o routines/
      minion export --runs morning-report > runs.jsonl
      minion export --runs last --format markdown
    """
    home = home_of(ctx)
    load_config(home)
    chosen: Format = format_ or ("jsonl" if runs else "yaml")
    if runs and chosen == "yaml":
        raise BadUse("bad_format", "Runs are not written as YAML.", hint="--format jsonl, or markdown to read")
    with read_only(home.store) as db:
        texts = _runs(db, names, chosen) if runs else _routines(home, db, names, chosen)
    if not texts:
        what = "runs" if runs else "routines"
        raise NotFound("nothing_to_export", f"There are no {what} yet.", hint="minion routine list")
    if output is not None and (output.endswith("/") or Path(output).is_dir()):
        _write(Path(output), {name + _SUFFIX[chosen]: text for name, text in texts.items()})
        return
    whole = _together(texts, chosen, runs=runs)
    if output is None:
        click.echo(whole, nl=False)
    else:
        _write(Path(output).parent, {Path(output).name: whole})


def _together(texts: Mapping[str, str], format_: Format, *, runs: bool) -> str:
    from minion.routines.portable import together

    if runs:
        return "".join(texts.values()) if format_ == "jsonl" else "\n---\n\n".join(texts.values())
    return together(list(texts.values()), format_)


def _routines(home: Home, db: Reader, names: Sequence[str], format_: Format) -> dict[str, str]:
    from minion.admission import as_written, routine_candidate
    from minion.routines.portable import written_out
    from minion.skills.loader import bundled_names

    kept = [find_routine(db, name) for name in names] if names else list_routines(db)
    sources = [(Path(item.source), _read(item)) for item in kept]
    said = as_written([routine_candidate(path, body) for path, body in sources]) if sources else []
    texts = written_out([(p, b, d) for (p, b), d in zip(sources, said, strict=True)], format_)
    bundled = bundled_names()
    own = dict.fromkeys(skill for item in kept for skill in item.document["pipeline"] if skill not in bundled)
    if own:
        places = ", ".join(shown_path(home.skills / skill) for skill in own)
        warn(f"They need skills of your own, which are not in them: {places}")
    return {item.name: text for item, text in zip(kept, texts, strict=True)}


def _read(item: KeptRoutine) -> bytes:
    try:
        return Path(item.source).read_bytes()
    except OSError as error:
        says = f"The file of {item.name} cannot be read ({error.strerror})."
        hint = f"put {item.source} back, or take it out with `minion routine remove {item.name}`"
        raise NotFound("no_file", says, hint=hint) from error


def _runs(db: Reader, names: Sequence[str], format_: Format) -> dict[str, str]:
    ids: dict[str, None] = {}
    if not names:
        ids = dict.fromkeys(run["id"] for run in list_runs(db, limit=_ALL))
    for name in names:
        listed = [run["id"] for run in list_runs(db, routine=name, limit=_ALL)]
        ids |= dict.fromkeys(listed or [find_run(db, name)])
    texts = {}
    for run_id in ids:
        run = whole_run(db, run_id)
        if format_ == "jsonl":
            full = run | {"events": run_events(db, run_id), "seal": seal_of(db, run_id)}
            texts[run_id] = json.dumps(full, ensure_ascii=False) + "\n"
        else:
            texts[run_id] = "\n".join(run_markdown(run, results_of(db, run_id))) + "\n"
    return texts


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write new files, each whole; one that is there is never written over. Raises `Refused`."""
    there = next((name for name in files if (folder / name).exists()), None)
    if there is not None:
        says = f"{shown_path(folder / there)} is there already."
        raise Refused("file_exists", says, hint="name another, or move it away first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    for name, text in files.items():
        write_private(folder / name, text)
        click.echo(f"{shown_path(folder / name)} is written.", err=True)
