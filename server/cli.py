"""The `hq` command: what HQ can tell without a server: the process that every run walks."""

from __future__ import annotations

import json
import sys

import click

from server.contract.refusals import Refusal


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="minion-hq", prog_name="hq")
def hq() -> None:
    """HQ of your minions. In this version it shows the processes that runs are held against.

    A process is what every run walks: blocks in a fixed order, rigid ones done by trusted code, elastic ones where
    a skill or model decides. The steps a run took are compared with it.

    \b
    Examples:
      hq process
      hq process --json

    \b
    Exit codes:
      0  done
      2  bad use: a word or code that does not fit
      3  refused
    """


@hq.command("process")
@click.argument("code", metavar="[CODE]", default="WF-ROUTINE-EXEC")
@click.option("--json", "as_json", is_flag=True, help="Print the process as one JSON document.")
def process(code: str, as_json: bool) -> None:
    """Show a process: blocks, canonical steps, variants.

    CODE is the process's code; without one it is WF-ROUTINE-EXEC, which every routine's run walks. The fingerprint
    beside its name is that of a run that took just the canonical steps.

    \b
    Examples:
      hq process
      hq process WF-ROUTINE-EXEC
      hq process --json
    """
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
        sentence, hint = _said_of(error)
        click.echo(f"hq: {sentence}\nhint: {hint}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


def _said_of(error: click.ClickException) -> tuple[str, str]:
    """One sentence and one hint; the nearest command or option where there is one."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    where = context.command_path if context is not None else "hq"
    if isinstance(error, click.exceptions.NoSuchCommand):
        kind, word, near = "command", error.command_name, error.possibilities
    elif isinstance(error, click.NoSuchOption):
        kind, word, near = "option", error.option_name, error.possibilities
    else:
        sentence = " ".join(error.format_message().split())
        return sentence if sentence.endswith((".", "?")) else f"{sentence}.", f"{where} --help"
    meant = f"did you mean `{where} {near[0]}`?" if near else f"{where} --help"
    return f"There is no {kind} {word[:40]!r}.", meant
