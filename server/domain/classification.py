"""The process classification as HQ knows it, and the rules by which files of one's own extend what came with it.

What a file adds goes in whole or not at all; no file changes what was there before it (issue 5, "Processes").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from server.contract.classification import ClassificationFile, Domain, Example, Subdomain
from server.contract.plain_words import shown
from server.contract.process import Block, Process, Step
from server.contract.refusals import BadDocument, BadUse, NotFound, Refusal

_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that could not be taken in, by its name, and why."""

    file: str
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Classification:
    """Domains, sub-domains and processes by their codes; `own` names the file of each that is one's own."""

    domains: Mapping[str, Domain] = field(default_factory=dict)
    subdomains: Mapping[str, Subdomain] = field(default_factory=dict)
    processes: Mapping[str, Process] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()

    def processes_of(self, subdomain: str) -> list[Process]:
        """The processes of a sub-domain, by code."""
        return [each for _, each in sorted(self.processes.items()) if each.process == subdomain]

    def examples_of(self, subdomain: str) -> list[Example]:
        """What to build with a sub-domain."""
        return [example for example in self.examples if example.process == subdomain]


def process_of(known: Classification, text: str) -> Process:
    """The process of a code, also one with a variant's behind it, or of a sub-domain that has just this one.

    Raises `NotFound`, and `BadUse` for a sub-domain with several.
    """
    wanted = text.strip().upper()
    process = known.processes.get(wanted.partition(".")[0])
    if process is not None:
        return process
    subdomain = next((sub for sub in known.subdomains.values() if wanted in (sub.code, sub.short)), None)
    found = known.processes_of(subdomain.code) if subdomain is not None else []
    if len(found) > 1:
        hint = f"name one of {', '.join(each.code for each in found)}"
        raise BadUse("ambiguous_process", f"The sub-domain {wanted} has several processes.", hint=hint)
    if not found:
        hint = f"use one of {', '.join(sorted(known.processes)[:_MOST_NAMED])}"
        raise NotFound("unknown_process", f"There is no process {shown(text)} here.", hint=hint)
    return found[0]


def with_codes(known: Classification, said: ClassificationFile, *, source: str, own: bool) -> Classification:
    """The classification with the domains, sub-domains and examples of a file.

    Raises `BadDocument` for a code that is taken, and one whose domain or sub-domain there is not.
    """
    domains, subdomains, files = dict(known.domains), dict(known.subdomains), dict(known.own)
    for number, domain in enumerate(said.domains):
        _check_free(domain, f"domains[{number}]", {**domains, **subdomains}, files, source)
        domains[domain.code] = domain
        files |= {domain.code: source} if own else {}
    for number, subdomain in enumerate(said.subdomains):
        where = f"subdomains[{number}]"
        _check_free(subdomain, where, {**domains, **subdomains}, files, source)
        if subdomain.domain not in domains:
            raise _unknown(source, f"{where}.code", subdomain.code, f"there is no domain {subdomain.domain}")
        subdomains[subdomain.code] = subdomain
        files |= {subdomain.code: source} if own else {}
    for number, example in enumerate(said.examples):
        if example.process not in subdomains:
            where = f"examples[{number}].process"
            raise _unknown(source, where, example.process, "no such sub-domain is known")
    examples = (*known.examples, *said.examples)
    return replace(known, domains=domains, subdomains=subdomains, examples=examples, own=files)


def with_process(known: Classification, process: Process, *, source: str, own: bool) -> Classification:
    """The classification with one more process.

    Raises `BadDocument` for a code or block that another process has, for a sub-domain that there is not, and for
    a step that goes by another name elsewhere: a code means one thing.
    """
    if process.process not in known.subdomains:
        raise _unknown(source, "process", process.process, "no such sub-domain is known")
    if process.code in known.processes:
        raise _taken(source, "code", process.code, known.own.get(process.code))
    blocks = {block.code: other.code for other in known.processes.values() for block in other.blocks}
    for number, block in enumerate(process.blocks):
        if block.code in blocks:
            raise _taken(source, f"blocks[{number}].code", block.code, f"the process {blocks[block.code]}")
    names = {step.code: step.name for other in known.processes.values() for step in all_steps(other)}
    for step in all_steps(process):
        if names.setdefault(step.code, step.name) != step.name:
            says = f"{source}: `blocks.steps` names {step.code} {step.name!r}, which is {names[step.code]!r}."
            raise BadDocument("step_renamed", says, hint="use that name, or give the step a code of its own")
    files = {**known.own, process.code: source} if own else known.own
    return replace(known, processes={**known.processes, process.code: process}, own=files)


def steps_with_blocks(process: Process) -> Iterator[tuple[Block, Step]]:
    """The steps of a process with the block each belongs to; those that only a variant takes come last."""
    for block in process.blocks:
        for step in block.steps:
            yield block, step
    elastic = next(block for block in process.blocks if block.kind == "elastic")
    known = {step.code for block in process.blocks for step in block.steps}
    for variant in process.variants:
        for step in variant.steps or ():
            if step.code not in known:
                known.add(step.code)
                yield elastic, step


def all_steps(process: Process) -> list[Step]:
    """Every step of a process as it is written there, those of its variants too."""
    own = [step for block in process.blocks for step in block.steps]
    return [*own, *(step for variant in process.variants for step in variant.steps or ())]


def rigid_steps(processes: Iterable[Process]) -> dict[str, str]:
    """The code of each rigid step, with the block that it belongs to."""
    return {
        step.code: block.code
        for process in processes for block in process.blocks if block.kind == "rigid"
        for step in block.steps
    }  # fmt: skip


def _check_free(
    new: Domain | Subdomain, where: str, known: Mapping[str, Domain | Subdomain], files: Mapping[str, str],
    source: str,
) -> None:  # fmt: skip
    if new.code in known:
        raise _taken(source, f"{where}.code", new.code, files.get(new.code))
    other = next((each.code for each in known.values() if each.short == new.short), None)
    if other is not None:
        raise _taken(source, f"{where}.short", new.short, files.get(other, other))


def _taken(source: str, where: str, code: str, by: str | None) -> BadDocument:
    whose = by or "the bundled catalogue"
    says = f"{source}: `{where}` is {code}, which {whose} has already."
    return BadDocument("code_taken", says, hint="give it a code of its own: files add codes, and change none")


def _unknown(source: str, where: str, code: str, why: str) -> BadDocument:
    hint = "add it to a pcf.yaml beside your processes; `hq pcf tree` shows what there is"
    return BadDocument("unknown_parent", f"{source}: `{where}` is {code}, but {why}.", hint=hint)
