"""How `minion run --dry-run` prints a run that is not made."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import click

from minion.commands.presentation import rule
from minion.spelling import plain, spell_ms


def print_rehearsal(said: Mapping[str, Any]) -> None:
    """What the run would begin with, part by part; what refuses it stands last, where it is seen."""
    lines = [*_engine(said), ""]
    if said["prompt"] is not None:
        lines += [*_told(said["prompt"]), *_tools(said["prompt"])]
    else:
        lines += [rule("what is executed, in place of a prompt"), "", *_scripts(said["scripts"]), ""]
    lines += [rule("the envelope"), "", *_envelope(said["envelope"]), ""]
    lines += [rule("what may leave it"), "", *_leaves(said), ""]
    lines += [rule("the budget"), "", *_budget(said["budget"]), ""]
    lines += [rule("would it run"), "", *_against(said)]
    click.echo("\n".join(lines))


def _engine(said: Mapping[str, Any]) -> Iterator[str]:
    name = click.style(said["routine"], bold=True)
    yield f"{name}: nothing is run, asked of a model, or kept"
    yield ""
    yield f"engine     {said['engine']} – paid by {said['paid_by']}"
    model = said["model"]
    if model is not None:
        yield f"model      {model['name']}"
        yield from (f"           {skill}: {name}" for skill, name in model["of_skills"].items())
        rates = model["dollars_per_million_tokens"]
        if rates is not None:
            whose = "your own price" if model["own_price"] else f"prices as of {model['prices_as_of']}"
            words = ", ".join(f"{kind.replace('_', ' ')} ${rates[kind]:g}" for kind in rates)
            yield f"price      per million tokens: {words} ({whose})"
    yield f"steps      {' → '.join(said['steps'])}"


def _told(prompt: Mapping[str, Any]) -> Iterator[str]:
    yield from (rule("system prompt"), "", plain(prompt["system"]), "")
    yield from (rule("what the session is told first"), "")
    yield from (f"{plain(text)}\n" for text in prompt["told"])
    for number, text in enumerate(prompt["later"], 2):
        yield from (rule(f"when skill {number} has its turn"), "", f"{plain(text)}\n")


def _tools(prompt: Mapping[str, Any]) -> Iterator[str]:
    yield from (rule("tools offered"), "")
    for tool in prompt["tools"]:
        yield f"{tool['name']:<18} {textwrap.shorten(plain(tool['description']), 90, placeholder=' …')}"
    yield ""
    for skill in prompt["skills"]:
        may = "all of them" if skill["may_use"] is None else ", ".join(skill["may_use"]) + ", and the runner's own"
        yield f"{skill['skill']} may use {may}"
    if prompt["skills"]:
        yield ""


def _scripts(scripts: list[Mapping[str, Any]]) -> Iterator[str]:
    for each in scripts:
        if each["script"] is None:
            yield f"{each['skill']:<24} nothing: it has no script, and needs a model"
            continue
        pinned = ", bundled and unchanged" if each["bundled_and_unchanged"] else ""
        yield f"{each['skill']:<24} {each['script']}, {each['bytes']:,} bytes{pinned}"


def _envelope(said: Mapping[str, Any]) -> Iterator[str]:
    without = "none: it runs as you, and sees all you see"
    yield f"sandbox    {said['sandbox'] if said['sandbox'] != 'none' else click.style(without, fg='yellow')}"
    network = said["network"]
    yield f"network    {network if isinstance(network, str) else ', '.join(network)}"
    for item in said["repositories"]:
        yield f"clones     {plain(item['url'])} as {item['name']}, branch {plain(item['branch'])}"
    for name, key in (("writes", "writable"), ("reads", "read_only")):
        if said[key]:
            yield f"{name:<10} {', '.join(said[key])}"
    if said["setup"]:
        lines = len(said["setup"].strip().splitlines())
        yield f"setup      a script of {lines} line{'s' if lines > 1 else ''}, whose result is kept"
    if said["variables"]:
        yield f"variables  {', '.join(said['variables'])}"


def _leaves(said: Mapping[str, Any]) -> Iterator[str]:
    yield f"effects    {', '.join(said['effects']) or 'none'}"
    for each in said["expect"]:
        ((kind, value),) = each.items()
        yield f"check      {kind} {plain(value if isinstance(value, str) else ' '.join(value))}"


def _budget(said: Mapping[str, Any]) -> Iterator[str]:
    run = said["run"]
    caps = [spell_ms(run["wall_clock_s"] * 1000)]
    if "dollars" in run:
        caps += [f"{run['turns']:,} turns", f"{run['tokens']:,} tokens", f"${run['dollars']:g}"]
    yield f"a run      {', '.join(caps)}"
    for span in ("day", "month") if "dollars" in run else ():
        each = said[span]
        left = "no cap" if each["cap"] is None else f"${each['left']:,.2f} left of ${each['cap']:g}"
        yield f"this {span:<6}{left}, ${each['spent']:,.2f} spent"


def _against(said: Mapping[str, Any]) -> Iterator[str]:
    if said["would_run"]:
        yield "Yes, as things are now."
    for each in said["against"]:
        yield f"{click.style('✗', fg='red')} {plain(each['says'])}"
        yield f"  {click.style('hint:', bold=True)} {plain(each['hint'])}"
