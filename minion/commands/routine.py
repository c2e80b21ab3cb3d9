"""`minion routine`: adds, edits, lists, shows and removes routines."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from minion.commands.added import added_as_data, engine_and_payer, print_added
from minion.commands.completion import complete_routine, complete_template
from minion.commands.context import hinting, home_of, print_json, program, shown_path
from minion.commands.owner import add_routine, remove_routine
from minion.commands.presentation import mark, table
from minion.commands.routine_edit import edit
from minion.config import Home, load_config
from minion.routines.files import read_file, routine_files
from minion.routines.template_list import template_named, templates
from minion.spelling import local_time
from minion.standing import GONE
from minion.store.local_db import read_only
from minion.store.routines import KeptRoutine, find_routine, last_run_of, list_routines
from server.contract.refusals import BadUse


@click.group("routine")
def command() -> None:
    """Add, begin from a template, edit, list, show and remove routines.

    A routine's truth is its file in the home's routines folder: edit it there or with minion routine edit, or add
    it again with --replace. Runs, id and history belong to the name and survive every change. What a routine file
    can say is in README.md.

    \b
    Examples:
      minion routine new --template standup-prep
      minion routine add standup.yaml
      minion routine edit standup
      minion routine show standup
    """


@command.command("add")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Change the routine of that name; its runs and history stay.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def add(ctx: click.Context, file: Path, replace: bool, as_json: bool) -> None:
    """Check a routine file and put it into the home.

    FILE is YAML or JSON. Everything about it is checked before anything is written: its keys, its schedule, its
    skills and what they require. A file without `repositories` gets the checkout around the current folder; all
    else in it stays as written.

    \b
    Examples:
      minion routine add standup.yaml
      minion routine add standup.yaml --replace
    """
    home = home_of(ctx)
    command = f"minion routine add {file.name}"
    added = add_routine(home, file, read_file(file), replace=replace, command=command)
    if as_json:
        print_json(added_as_data(added, load_config(home)))
        return
    print_added(ctx, added)


@command.command("new")
@click.option("--template", metavar="TEMPLATE", shell_complete=complete_template, help="What to begin from.")
@click.option("--name", metavar="NAME", help="The routine's name [default: the template's].")
@click.option("--list", "only_list", is_flag=True, help="List the templates.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def new(ctx: click.Context, template: str | None, name: str | None, only_list: bool, as_json: bool) -> None:
    """Begin a routine from a ready template.

    It works on the checkout around the current folder.

    The file that is kept in the home carries the template's comments: edit it there.

    \b
    Examples:
      minion routine new --list
      minion routine new --template standup-prep
      minion routine new --template weekly-digest --name api-digest
    """
    if only_list or template is None:
        if not only_list:
            raise BadUse("no_template", "No template was named.", hint="minion routine new --list")
        _print_templates(as_json)
        return
    chosen = template_named(template)
    body = chosen.body
    if name is not None:
        body = b"".join(
            f"name: {json.dumps(name)}\n".encode() if line.startswith(b"name:") else line
            for line in body.splitlines(keepends=True)
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{chosen.name}.yaml"
        file.write_bytes(body)
        taken = name or chosen.name
        with hinting("routine_exists", f"choose another --name, or change that one: minion routine edit {taken}"):
            ctx.invoke(add, file=file, replace=False, as_json=as_json)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the routines with their newest run.

    \b
    Examples:
      minion routine list
      minion routine list --json
    """
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
        kept = [(item, last_run_of(db, item.name)) for item in list_routines(db)]
    if as_json:
        print_json([_listed(home, item, last) for item, last in kept])
        return
    waiting = _not_admitted(home, [item.name for item, _ in kept])
    if not kept and not waiting:
        click.echo(f"No routines yet: {program(ctx)} routine add FILE")
        return
    rows = [
        [
            item.name, "✗ its file is gone" if _problem(home, item) else _listed_when(item),
            " → ".join(item.document["pipeline"]) or "a prompt",
            f"{mark(last['verdict'])} {local_time(last['created_at'])}" if last else "never ran", item.id,
        ]
        for item, last in kept
    ]  # fmt: skip
    rows += [[name, "–", "a file that was not admitted yet: minion doctor", "never ran", "–"] for name in waiting]
    click.echo("\n".join(table(["routine", "when", "does", "last run", "id"], rows)))


@command.command("show")
@click.argument("routine", metavar="NAME", shell_complete=complete_routine)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def show(ctx: click.Context, routine: str, as_json: bool) -> None:
    """Show a routine as it is kept.

    NAME may be its id too, or the beginning of one. With --json every default is written out.

    \b
    Examples:
      minion routine show morning-report
      minion routine show morning-report --json
    """
    home = home_of(ctx)
    config = load_config(home)
    with read_only(home.store) as db:
        kept = find_routine(db, routine)
        last = last_run_of(db, kept.name)
    if as_json:
        print_json(_listed(home, kept, last) | dict(kept.document))
        return
    document = kept.document
    click.echo(f"{click.style(kept.name, bold=True)} · {kept.id} · revision {kept.revision}")
    if document["content"]:
        click.echo("\n" + click.style(document["content"].strip(), italic=True) + "\n")
    steps = " → ".join((*document["pipeline"], "execution-report")) if document["pipeline"] else "a prompt"
    repositories = [item["url"] for item in document["repositories"] or ()]
    shown = {
        "does": steps, "when": _when(document) + (" (paused)" if document["paused"] else ""),
        "repositories": ", ".join(repositories) or "none", "engine": engine_and_payer(document, config),
        "limits": f"{document['limits']['wall_clock_s']:g} s, ${document['limits']['dollars']:g} a run",
        "last run": f"{last['verdict']} {last['id']}" if last else "never ran",
        "delivered": local_time(kept.last_delivered_at),
        "file": shown_path(kept.source) if _problem(home, kept) is None else GONE,
    }  # fmt: skip
    click.echo("\n".join(f"{name:<13} {value}" for name, value in shown.items()))


@command.command("remove")
@click.argument("routine", metavar="NAME", shell_complete=complete_routine)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def remove(ctx: click.Context, routine: str, as_json: bool) -> None:
    """Take a routine out of use; its runs stay.

    Its file is removed. Its runs, its id and its history stay, and come back with a routine of the same name.

    \b
    Examples:
      minion routine remove standup
    """
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
        name = find_routine(db, routine).name
    remove_routine(home, name, command=f"minion routine remove {name}")
    if as_json:
        print_json({"removed": name})
    else:
        click.echo(f"{name} is removed; its runs stay: {program(ctx)} runs --routine {name}")


def _print_templates(as_json: bool) -> None:
    known = templates()
    if as_json:
        print_json([{"name": t.name, "summary": t.summary, "keywords": list(t.keywords)} for t in known])
        return
    click.echo("\n".join(table(["template", "what it does"], [[t.name, t.summary] for t in known])))


def _problem(home: Home, item: KeptRoutine) -> str | None:
    """What keeps a routine from running at all."""
    return None if routine_files(home, item.name) else GONE


def _listed_when(item: KeptRoutine) -> str:
    return "paused" if item.document["paused"] else _when(item.document)


def _listed(home: Home, item: KeptRoutine, last: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": item.id, "name": item.name, "revision": item.revision, "paused": item.document["paused"],
        "pipeline": item.document["pipeline"], "cron_expression": item.document["cron_expression"],
        "triggers": item.document["triggers"], "last_run": last, "last_delivered_at": item.last_delivered_at,
        "file": item.source, "changed_at": item.changed_at, "problem": _problem(home, item),
    }  # fmt: skip


def _not_admitted(home: Home, known: list[str]) -> list[str]:
    """The names of routine files that nobody has run or added yet, good or bad."""
    from minion.routines.files import all_routine_files

    return sorted({file.stem for file in all_routine_files(home)} - set(known))


def _when(document: Any) -> str:
    due = [trigger.get("cron") or f"once at {trigger['at']}" for trigger in document["triggers"]]
    return "; ".join(due) or "on demand"


command.add_command(edit)
