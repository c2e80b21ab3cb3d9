"""`hq pcf`: the process classification, as it came with HQ and as one's own files extend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from server.commands.context import home_of, print_json, say

if TYPE_CHECKING:
    from server.domain.classification import Classification


@click.group("pcf")
def command() -> None:
    """Look at the process classification: domains, sub-domains, processes.

    Your own processes lie in the folder `processes` of HQ's home: one YAML file each, and a pcf.yaml for more
    domains and sub-domains. They add codes, and never change those that came with HQ.

    \b
    Examples:
      hq pcf tree
      hq pcf tree --json
    """


@command.command("tree")
@click.option("--json", "as_json", is_flag=True, help="Print the classification as one JSON document.")
@click.pass_context
def tree(ctx: click.Context, as_json: bool) -> None:
    """Show the classification from domains down to blocks.

    The files are read as they are now, with or without a running HQ; a running one read them as it started. A file
    of your own that says something wrong is left out, and named below with the reason.

    \b
    Examples:
      hq pcf tree
      hq --home /srv/hq pcf tree
      hq pcf tree --json
    """
    from server.catalogue.reading import read_catalogue

    known = read_catalogue(home_of(ctx).catalogue)
    if as_json:
        left = [{"file": each.file, **each.refusal.as_data()} for each in known.left_out]
        print_json({"domains": _as_data(known), "left_out": left})
    else:
        for line in _lines(known):
            click.echo(line)
    say_left_out(known)


def say_left_out(known: Classification) -> None:
    """Name, on stderr, the files of one's own that could not be taken in."""
    for each in known.left_out:
        say(f"left out: {each.refusal.sentence}\n  hint: {each.refusal.hint}")


def _lines(known: Classification) -> list[str]:
    """The tree as people read it, two columns further right at each level."""
    lines = []
    for domain in sorted(known.domains.values(), key=lambda each: each.code):
        lines.append(f"{domain.code} {domain.short}  {domain.name}{_from(known, domain.code)}")
        for sub in sorted(known.subdomains.values(), key=lambda each: each.code):
            if sub.domain != domain.code:
                continue
            lines.append(f"  {sub.code} {sub.short}  {sub.name}{_from(known, sub.code)}")
            lines += _below(known, sub.code)
    return lines


def _below(known: Classification, subdomain: str) -> list[str]:
    lines = []
    for process in known.processes_of(subdomain):
        lines.append(f"    {process.code}  {process.name}{_from(known, process.code)}")
        for variant in process.variants:
            lines.append(f"      .{variant.code}  {variant.name} ({variant.trigger})")
        for block in process.blocks:
            lines.append(f"      {block.code}  {block.name:<26} {block.kind}")
    for example in known.examples_of(subdomain):
        lines.append(f"    e.g. {example.name} ({example.trigger}): {example.does}")
    return lines


def _as_data(known: Classification) -> list[dict[str, Any]]:
    """The tree as data: each process whole, `file` where one's own file said it."""
    from server.contract.process import admitted

    def below(subdomain: str) -> dict[str, Any]:
        processes = known.processes_of(subdomain)
        return {
            "processes": [{**admitted(each), "file": known.own.get(each.code)} for each in processes],
            "examples": [each.model_dump(mode="json") for each in known.examples_of(subdomain)],
        }

    subdomains = sorted(known.subdomains.values(), key=lambda each: each.code)
    return [
        {
            **domain.model_dump(mode="json"), "file": known.own.get(domain.code),
            "subdomains": [
                {**sub.model_dump(mode="json"), "file": known.own.get(sub.code), **below(sub.code)}
                for sub in subdomains if sub.domain == domain.code
            ],
        }
        for domain in sorted(known.domains.values(), key=lambda each: each.code)
    ]  # fmt: skip


def _from(known: Classification, code: str) -> str:
    file = known.own.get(code)
    return f"  (from {file})" if file is not None else ""
