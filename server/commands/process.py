"""`hq process`: what every run walks, block by block."""

from __future__ import annotations

import click

from server.commands.context import home_of, print_json
from server.commands.pcf import say_left_out


@click.command("process")
@click.argument("code", metavar="[CODE]", default="WF-ROUTINE-EXEC")
@click.option("--json", "as_json", is_flag=True, help="Print the process as one JSON document.")
@click.pass_context
def command(ctx: click.Context, code: str, as_json: bool) -> None:
    """Show a process: blocks, canonical steps, variants.

    CODE is the process's code, or that of a sub-domain with one process; without one it is WF-ROUTINE-EXEC, which
    every routine's run walks. The fingerprint beside its name is that of a run that took just the canonical steps.
    `hq pcf tree` shows which processes there are.

    \b
    Examples:
      hq process
      hq process WF-GAP-ANNEAL
      hq process 040.001 --json
    """
    from server.actions.ground import variants_of
    from server.catalogue.reading import read_catalogue
    from server.contract.process import admitted
    from server.contract.refusals import NotFound
    from server.domain.classification import process_of

    known = read_catalogue(home_of(ctx).catalogue)
    try:
        process = process_of(known, code)
    except NotFound:
        say_left_out(known)
        raise
    taken, document = variants_of(known, process.code), admitted(process)
    if as_json:
        own = {"canonical": taken["canonical"], "fingerprint": taken["fingerprint"]}
        print_json({**document, **own, "file": known.own.get(process.code)})
        return
    widest = max((len(step.code) for block in process.blocks for step in block.steps), default=0)
    click.echo(f"{process.code}  {process.name}  {taken['fingerprint']}")
    for block in process.blocks:
        click.echo(f"  {block.code}  {block.name:<26} {block.kind}")
        for step in block.steps:
            click.echo(f"      {step.code:<{widest}}  {step.name}")
    for variant, sequence in zip(process.variants, taken["variants"], strict=True):
        other = sequence["fingerprint"]
        differs = f"  {other}" if other != taken["fingerprint"] else ""
        click.echo(f"  .{variant.code}  {variant.name} ({variant.trigger}){differs}")
