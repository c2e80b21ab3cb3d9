"""`minion skill`: lists, shows, checks, begins, adds and removes skills."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from minion.asking import beside
from minion.commands.completion import complete_own_skill, complete_skill
from minion.commands.context import as_called, hinting, home_of, print_json, program, shown_path
from minion.commands.presentation import mark, rule, table
from minion.config import Home, load_config
from minion.spelling import plain
from server.contract.refusals import NotFound, Refusal, Refused

if TYPE_CHECKING:  # a skill's reader and its installer are loaded by the verbs that need them
    from minion.skills.archive import Reading
    from minion.skills.install import Installed
    from minion.skills.inventory import KnownSkill

HEAD_LINES: Final = 20
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group("skill")
def command() -> None:
    """List, show, check, begin, add and remove skills.

    A skill is a folder with a SKILL.md (Agent Skills). Bundled ones come with this program; your own lie in the
    home's skills folder, under names that no bundled one has.

    \b
    Examples:
      minion skill list
      minion skill new look-at-logs --description "Counts errors. Each morning."
      minion skill validate ./look-at-logs.zip
      minion skill add ./look-at-logs.zip --replace
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the skills, bundled ones and your own.

    Told of each: the step code it logs as, whether it needs a model, what it may do outside, who uses it.
    `bundled, changed` is a bundled skill that is not as it was released: it is trusted no more than your own. A
    skill that cannot be used is named below the table, with the reason.

    \b
    Examples:
      minion skill list
      minion skill list --json
    """
    from minion.skills.inventory import known_skills
    from minion.skills.loader import pinned_digests

    home = home_of(ctx)
    load_config(home)
    skills, pinned = known_skills(home), pinned_digests()
    if as_json:
        print_json([_listed(skill, pinned) for skill in skills])
        return
    rows = []
    for skill in skills:
        item = _listed(skill, pinned)
        unchanged = "bundled" if item["pinned"] else "bundled, changed"
        runs = "script" if item["script"] else "needs a model"
        rows.append([
            item["name"], item["code"], unchanged if item["bundled"] else "own",
            mark("failed") if item["problem"] else runs, ", ".join(item["effects"]) or "–",
            ", ".join(item["routines"]) or "–",
        ])  # fmt: skip
    click.echo("\n".join(table(["skill", "code", "from", "runs", "effects", "used by"], rows)))
    for skill in skills:
        if skill.refusal is not None:
            hint = as_called(ctx, skill.refusal.hint)
            click.echo(f"{mark('failed')} {skill.name}: {skill.refusal.sentence} hint: {hint}")


@command.command("show")
@click.argument("skill", metavar="NAME", shell_complete=complete_skill)
@_JSON
@click.pass_context
def show(ctx: click.Context, skill: str, as_json: bool) -> None:
    """Show a skill: its header, files, digest, instructions.

    Of the instructions the beginning is shown. The digest covers every byte of every file: two machines that
    show the same one hold the same skill.

    \b
    Examples:
      minion skill show write-daily-report
      minion skill show send-to-slack --json
    """
    from minion.skills.install import admit_files
    from minion.skills.loader import load_skill, pinned_digests

    home = home_of(ctx)
    load_config(home)
    folder = load_skill(home, skill)
    header = admit_files(folder.files, folder=skill)
    sizes = {name: len(body) for name, body in sorted(folder.files.items())}
    pinned = folder.bundled and pinned_digests().get(skill) == folder.digest
    if as_json:
        says = {"bundled": folder.bundled, "pinned": pinned, "script": folder.script, "folder": str(folder.path)}
        print_json({**header, **says, "digest": folder.digest, "files": sizes})
        return
    origin = ("bundled" if pinned else "bundled, changed") if folder.bundled else "own"
    click.echo(f"{click.style(skill, bold=True)} · {origin} · {shown_path(folder.path)}")
    click.echo("\n" + plain(header["description"]) + "\n")
    facts = {
        "license": header["license"], "compatibility": header["compatibility"],
        "allowed tools": " ".join(header["allowed_tools"]), "code": header["code"],
        "requires": ", ".join(header["requires"]), "effects": ", ".join(header["effects"]),
        "tools": ", ".join(f"{tool} as {code}" for tool, code in header["tools"].items()),
        "without model": _without_a_model(folder.script), "model": header["model"], "digest": folder.digest,
    }  # fmt: skip
    click.echo("\n".join(f"{name:<14} {plain(text)}" for name, text in facts.items() if text))
    click.echo("\n" + rule("files") + "\n")
    click.echo("\n".join(f"{size:>9,}  {_shown(name)}" for name, size in sizes.items()))
    lines = plain(header["instructions"]).splitlines()
    more = [f"… {len(lines) - HEAD_LINES} more lines"] if len(lines) > HEAD_LINES else []
    click.echo("\n" + rule("instructions") + "\n")
    click.echo("\n".join([*lines[:HEAD_LINES], *more]))


@command.command("validate")
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@_JSON
@click.pass_context
def validate(ctx: click.Context, path: Path, as_json: bool) -> None:
    """Check a skill and name every problem it has.

    PATH is a folder, a .zip or a .skill file; each problem comes with what to do. Nothing is installed and
    nothing is run; it needs no home. `minion skill add` applies the same rules.

    Exit code 0 when the skill can be added, 2 when it cannot.

    \b
    Examples:
      minion skill validate ./look-at-logs
      minion skill validate ./look-at-logs.zip --json
    """
    from minion.skills.archive import HEADER, read_skill
    from minion.skills.install import admit_files

    reading = read_skill(path)
    problems = [{"code": each.code, "problem": each.words, "hint": each.hint} for each in reading.problems]
    header: dict[str, Any] | None = None
    if HEADER in reading.files:
        try:
            # An archive's outer folder is packaging; a folder is what its name must be.
            header = admit_files(reading.files, folder=None if reading.packed else reading.folder)
        except Refusal as refusal:
            problems.append({"code": refusal.code, "problem": refusal.sentence, "hint": refusal.hint})
    script, name = _script_of(reading.files), header["name"] if header else None
    if as_json:
        print_json({
            "valid": not problems, "name": name, "problems": problems, "script": script,
            "files": len(reading.files), "ignored": list(reading.ignored),
        })  # fmt: skip
    else:
        _say_findings(reading, name, script, problems)
    ctx.exit(2 if problems else 0)


@command.command("new")
@click.argument("name", metavar="NAME")
@click.option("--description", help="What it does and when to use it.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Make it in this folder, not in the home.")
@_JSON
@click.pass_context
def new(ctx: click.Context, name: str, description: str | None, folder: Path | None, as_json: bool) -> None:
    """Begin a skill that runs as it is.

    It is a SKILL.md and a script, in the home's skills or in the folder you name. NAME is 1 to 64 small letters,
    digits and single hyphens, and no bundled skill's. The script reads one JSON document (routine, input,
    repositories, earlier results) and prints Markdown; change it from there.

    \b
    Examples:
      minion skill new look-at-logs
      minion skill new look-at-logs --description "Counts errors. Each morning."
      minion skill new look-at-logs --dir ./skills
    """
    from minion.skills.install import add_skill
    from minion.skills.skeleton import DESCRIPTION, skeleton

    files = skeleton(name, description or DESCRIPTION)
    if folder is not None:
        path = _new_in(folder, name, files)
    else:
        home = home_of(ctx)
        load_config(home)
        taken = hinting("skill_exists", "choose another name, or change that skill in its folder")
        with beside(home, f"minion skill new {name}"), taken:
            made = add_skill(home, files, replace=False)
        path = made.skill.path
    if as_json:
        print_json({"name": name, "folder": str(path), "files": sorted(files)})
        return
    click.echo(f"{click.style(name, bold=True)} begins in {shown_path(path)}: change it there.")
    if folder is not None:
        click.echo(f"  then  {program(ctx)} skill add {shown_path(path)}")
    else:
        click.echo(f"  then  name it in a routine's pipeline, and {program(ctx)} routine add FILE")


@command.command("add")
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Change the skill of that name.")
@_JSON
@click.pass_context
def add(ctx: click.Context, path: Path, replace: bool, as_json: bool) -> None:
    """Put a skill into the home, whole or not at all.

    PATH is a folder, a .zip or a .skill file; it is checked as `minion skill validate` does. Adding one of a
    name that is there needs --replace; runs that used the old one keep their copy. Only regular files are taken;
    what is left out is named.

    \b
    Examples:
      minion skill add ./look-at-logs
      minion skill add ./look-at-logs.zip --replace
      minion skill add ./look-at-logs.skill --json
    """
    from minion.skills.archive import read_skill
    from minion.skills.install import add_skill

    home = home_of(ctx)
    load_config(home)
    reading = read_skill(path)
    files = reading.accepted()
    with beside(home, f"minion skill add {path.name}"):
        added = add_skill(home, files, replace=replace)
    size = sum(len(body) for body in files.values())
    if as_json:
        print_json({
            "name": added.skill.name, "folder": str(added.skill.path), "files": len(files), "bytes": size,
            "digest": added.skill.digest, "scripts_digest": added.scripts_digest, "script": added.skill.script,
            "effects": added.admitted["effects"], "requires": added.admitted["requires"],
            "replaced": added.before == "other", "changed": added.before != "same",
            "ignored": list(reading.ignored),
        })  # fmt: skip
        return
    _say_added(added, reading, size)


@command.command("remove")
@click.argument("skill", metavar="NAME", shell_complete=complete_own_skill)
@click.option("--force", is_flag=True, help="Also when a routine or another skill needs it.")
@_JSON
@click.pass_context
def remove(ctx: click.Context, skill: str, force: bool, as_json: bool) -> None:
    """Take one of your own skills out of the home.

    Runs that used it keep their copy. A skill that a routine or another skill needs stays, unless --force is
    given. Bundled skills cannot be removed.

    \b
    Examples:
      minion skill remove look-at-logs
      minion skill remove look-at-logs --force
    """
    from minion.skills.install import remove_skill

    home = home_of(ctx)
    load_config(home)
    with beside(home, f"minion skill remove {skill}"):
        if not force:
            _check_unused(home, skill)
        remove_skill(home, skill)
    if as_json:
        print_json({"removed": skill})
    else:
        click.echo(f"{skill} is removed.")


def _listed(skill: KnownSkill, pinned: Mapping[str, str]) -> dict[str, Any]:
    header = skill.admitted or {}
    digest = skill.folder.digest if skill.folder else None
    return {
        "name": skill.name, "code": skill.code, "bundled": skill.bundled,
        "pinned": skill.bundled and pinned.get(skill.name) == digest,
        "script": skill.folder.script if skill.folder else None, "effects": list(header.get("effects", ())),
        "requires": list(header.get("requires", ())), "routines": list(skill.routines), "digest": digest,
        "description": header.get("description"), "problem": skill.refusal.as_data() if skill.refusal else None,
    }  # fmt: skip


def _without_a_model(script: str | None) -> str:
    return f"runs {script}" if script else "skipped: needs a model (it has no scripts/run.py or scripts/run.sh)"


def _script_of(files: Mapping[str, bytes]) -> str | None:
    from minion.skills.loader import SCRIPTS

    return next((name for name in SCRIPTS if name in files), None)


def _say_findings(
    reading: Reading, name: str | None, script: str | None, problems: list[dict[str, str]]
) -> None:
    for each in problems:
        click.echo(f"{mark('failed')} {each['problem']}")
        click.echo(f"  hint: {each['hint']}")
    if not problems:
        size = sum(len(body) for body in reading.files.values())
        click.echo(f"{mark('ok')} {name}: {len(reading.files)} files, {size:,} bytes")
    _say_ignored(reading)
    if "SKILL.md" in reading.files:
        click.echo(f"  without a model  {_without_a_model(script)}")


def _say_added(added: Installed, reading: Reading, size: int) -> None:
    skill, header = added.skill, added.admitted
    done = {"none": "is added", "other": "is replaced", "same": "was there as it is; nothing was changed"}
    click.echo(f"{click.style(skill.name, bold=True)} {done[added.before]}: {shown_path(skill.path)}")
    click.echo(f"  files            {len(skill.files)}, {size:,} bytes, {skill.digest}")
    click.echo(f"  scripts          {added.scripts_digest or 'none'}")
    click.echo(f"  without a model  {_without_a_model(skill.script)}")
    click.echo(f"  effects          {', '.join(header['effects']) or 'none'}")
    _say_ignored(reading)


def _say_ignored(reading: Reading) -> None:
    if reading.ignored:
        shown = ", ".join(_shown(name) for name in reading.ignored[:5])
        more = f" and {len(reading.ignored) - 5} more" if len(reading.ignored) > 5 else ""
        click.echo(f"  left out         {shown}{more}")


def _shown(name: str) -> str:
    from minion.skills.zip_reader import printable

    return printable(name)


def _new_in(folder: Path, name: str, files: Mapping[str, bytes]) -> Path:
    from minion.skills.install import admit_files, place_files
    from minion.skills.loader import SkillFolder, bundled_names

    admit_files(files, folder=name)
    if name in bundled_names():
        raise Refused("skill_clash", f"{name} is the name of a bundled skill.", hint="give it a name of its own")
    target = Path(os.path.abspath(folder)) / name  # noqa: PTH100 - links stay as the user typed them
    if not folder.is_dir():
        raise NotFound("no_folder", f"There is no folder {folder}.", hint=f"mkdir -p {folder}")
    if os.path.lexists(target):
        raise Refused("skill_exists", f"{target} is there already.", hint="choose another name or --dir")
    try:
        place_files(SkillFolder(name, target, bundled=False, files=files), target)
    except OSError as error:
        raise Refused(
            "cannot_write", f"{target} cannot be written ({error.strerror}).", hint="check the folder's rights"
        ) from error
    return target


def _check_unused(home: Home, name: str) -> None:
    from minion.skills.inventory import known_skills

    skills = known_skills(home)
    if all(skill.bundled for skill in skills if skill.name == name):
        return  # there is nothing to remove: the removal itself says why
    needed = [f"the routine {routine}" for skill in skills if skill.name == name for routine in skill.routines]
    needed += [
        f"the skill {skill.name}" for skill in skills if skill.admitted and name in skill.admitted["requires"]
    ]
    if needed:
        others = f" and {len(needed) - 1} more" if len(needed) > 1 else ""
        raise Refused(
            "skill_in_use",
            f"The skill {name} is used by {needed[0]}{others}.",
            hint="take it out of there first, or add --force",
        )
