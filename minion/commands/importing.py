"""`minion import`: routines from files that another minion, or a person, wrote."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from minion.commands.added import added_as_data, print_added
from minion.commands.context import home_of, print_json
from minion.commands.owner import import_routines
from minion.config import load_config
from server.contract.refusals import BadDocument, BadUse, NotFound

if TYPE_CHECKING:
    from minion.routines.portable import Format

_FORMATS: Final = ("yaml", "markdown", "jsonl")
_MOST_BYTES: Final = 32 * 1024 * 1024


@click.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--format", "format_", type=click.Choice(_FORMATS), help="[default: what the file's name says]")
@click.option("--replace", is_flag=True, help="Change routines that are here under the same names.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(
    ctx: click.Context, files: tuple[str, ...], format_: Format | None, replace: bool, as_json: bool
) -> None:
    """Take in routines from files: YAML (one or several documents), Markdown, JSON lines, JSON.

    All of them are taken in, or none: each is checked first as routine add does. FILE may be - for standard input,
    with --format. In Markdown the header between two lines of three hyphens has the routine's keys, and the text
    below is its content. A routine without `repositories` gets the checkout around this folder.

    \b
    Examples:
      minion import routines.yaml
      minion import review.md triage.md
      minion import - --format yaml < routines.yaml
    """
    from minion.routines.portable import format_of, taken_apart

    home = home_of(ctx)
    config = load_config(home)
    entries = []
    for name in files:
        path = Path("standard-input" if name == "-" else name)
        chosen = format_ or format_of(path)
        if chosen is None:
            says = f"The name {path.name!r} does not say in which format it is."
            raise BadUse("no_format", says, hint="add --format yaml, markdown or jsonl")
        entries += taken_apart(path, _read(name), chosen)
    added = import_routines(home, entries, replace=replace, command="minion import")
    if as_json:
        print_json([added_as_data(one, config) for one in added])
        return
    for one in added:
        print_added(ctx, one)


def _read(name: str) -> str:
    try:
        if name == "-":
            body = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                body = file.read(_MOST_BYTES + 1)
        if len(body) > _MOST_BYTES:
            raise BadDocument(
                "document_too_large", f"{name} is over {_MOST_BYTES // 1024**2} MiB.", hint="split it into several"
            )
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadDocument("not_utf8", f"{name} is not UTF-8.", hint="save the file as UTF-8") from error
    except OSError as error:
        says = f"{name} cannot be read ({error.strerror})."
        raise NotFound("no_file", says, hint="give the path of a file, or - for standard input") from error
