"""The `hq` command: what HQ can tell without a server: the process that every run walks."""

from __future__ import annotations

import json
import sys

import click

from server.contract.refusals import Refusal


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="minion-hq", prog_name="hq")
def hq() -> None:
    """HQ of your minions. In this version it shows the processes that runs are held against."""


@hq.command("process")
@click.argument("code", default="WF-ROUTINE-EXEC")
@click.option("--json", "as_json", is_flag=True, help="Print the process as one JSON document.")
def process(code: str, as_json: bool) -> None:
    """Show a process: its blocks, the canonical steps, the fingerprint of a prompt run, its variants."""
    from server.contract.documents import admit, load_document
    from server.contract.process import Process, admitted, bundled_process
    from server.contract.topology import fingerprint

    source = f"{code}.yaml"
    document = admitted(admit(Process, load_document(bundled_process(code), source=source), source=source))
    steps = [step["code"] for block in document["blocks"] for step in block["steps"]]
    if as_json:
        click.echo(json.dumps({**document, "canonical": steps, "fingerprint": fingerprint(steps)}, indent=2))
        return
    click.echo(f"{document['code']}  {document['name']}  {fingerprint(steps)}")
    for block in document["blocks"]:
        click.echo(f"  {block['code']}  {block['name']:<26} {block['kind']}")
        for step in block["steps"]:
            click.echo(f"      {step['code']:<22} {step['name']}")
    for variant in document["variants"]:
        click.echo(f"  .{variant['code']}  {variant['name']} ({variant['trigger']})")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the documented code: 2 bad use, 3 refused."""
    try:
        hq.main(arguments, prog_name="hq", standalone_mode=False)
    except Refusal as refusal:
        click.echo(f"hq: {refusal.sentence}\nhint: {refusal.hint}", err=True)
        sys.exit(refusal.exit_code)
    except click.exceptions.NoArgsIsHelpError as help_:
        click.echo(help_.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"hq: {error.format_message()}\nhint: hq --help", err=True)
        sys.exit(2)
