"""Hostile git (F23): addresses, refs, paths and repositories that try to run something or to push elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from minion.admission import answers_of, routine_candidate
from minion.engines.base import StagedEffect
from minion.repositories import repository_at
from minion.runner.effects import EffectDesk
from minion.runner.git import BRANCH, is_pushable, push
from minion.runner.workspace import Workspace, WorkspaceFailed, lay_out
from minion.wire import Order
from server.contract.refusals import Refusal
from tests.faults.git_scene import Scene, refs_in
from tests.faults.hostile_repositories import HOSTILE
from tests.faults.hostile_texts import ADDRESSES, PATHS, REFS
from tests.whole.homes import Ended, make_home, run_cli, write_routine, write_skill
from tests.whole.tripwires import Trap, Tripwire

# Of each corpus the short version takes every so manieth, from another place in each.
STRIDE: Final = 12
SECRET: Final = "canary-beside-the-run"


def some(corpus: Sequence[Any], short: bool, begin: int = 0) -> Sequence[Any]:
    """The corpus, or a part of it."""
    return corpus[begin::STRIDE] if short else corpus


def told(title: str, trials: int, wrong: Sequence[object]) -> None:
    """Trials, failures and, where there was none, the 95 % upper bound of their rate."""
    bound = "" if wrong else f", bound {3 / trials:.2%}"
    print(f"\n{title}: trials {trials}, failures {len(wrong)}{bound}")


def routines(short: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Routines with a hostile text in each of the places where a routine names an address, a ref or a path."""
    places: tuple[tuple[Sequence[str], Callable[[str], dict[str, Any]]], ...] = (
        (ADDRESSES, lambda text: {"repositories": [{"url": text, "name": "shop"}]}),
        (ADDRESSES, lambda text: {"repositories": [text]}),
        (REFS, lambda text: {"repositories": [{"url": "/shop", "name": "shop", "branch": text}]}),
        (REFS, lambda text: {"repositories": [{"url": "/shop", "name": text}]}),
        (REFS, lambda text: {"effects": [f"push:shop:{text}"]}),
        (PATHS, lambda text: {"effects": [f"file:{text}"]}),
        (PATHS, lambda text: {"expect": [{"file": text}]}),
    )
    for number, (corpus, made) in enumerate(places):
        for text in some(corpus, short, number % STRIDE):
            yield text, {"name": "tend", "pipeline": ["execution"], **made(text)}


def admitted(scene: Scene, short: bool) -> tuple[int, list[str]]:
    """Hostile texts in routines: trials, and what was admitted that must not be."""
    texts, candidates = [], []
    for text, routine in routines(short):
        filled = json.loads(json.dumps(routine).replace("@R", str(scene.bare)))
        texts.append((text, routine))
        candidates.append(routine_candidate(Path("tend.json"), json.dumps(filled).encode()))
    wrong = []
    for (text, routine), answer in zip(texts, answers_of(candidates), strict=True):
        if isinstance(answer, Refusal):
            continue
        (place,) = routine.keys() - {"name", "pipeline"}
        bad = text.startswith("-") or "::" in text or not text.isprintable() or text != text.strip()
        if place in ("effects", "expect"):  # patterns that paths are compared with: they are never opened
            bad = text.startswith("/") or ".." in text.split("/") or not text.isprintable()
        if place == "effects" and routine[place][0].startswith("push"):
            bad = not text.startswith("claude/") or ".." in text
        wrong += [f"{place}: {text!r}"] if bad else []
    return len(texts), wrong


def cloned(scene: Scene, short: bool) -> tuple[int, dict[str, int]]:
    """Hostile addresses and branches given to the runner as they are, past the first wall."""
    came = {"cloned": 0, "refused": 0}
    for text in some(ADDRESSES, short, 1):
        came[scene.tried(scene.filled(text))] += 1
    for text in some(REFS, short, 2):
        came[scene.tried(str(scene.bare), scene.filled(text))] += 1
    return sum(came.values()), came


def named(scene: Scene) -> tuple[int, list[str]]:
    """Every hostile address as what `--repo` names: trials, and those that are neither taken nor refused."""
    wrong = []
    for text in ADDRESSES:
        try:
            repository_at(scene.filled(text))
        except Refusal:
            pass
        except (OSError, RuntimeError, ValueError) as error:
            wrong.append(f"--repo {text[:40]!r}: {type(error).__name__}")
    return len(ADDRESSES), wrong


def commanded(scene: Scene, short: bool) -> tuple[int, list[str]]:
    """Hostile addresses on the command line of a person who was talked into it."""
    home = make_home(scene.folder)
    write_skill(home, "act", "answer(text='done')")
    write_routine(home, "tend", "act")
    wrong, trials = [], 0
    texts = [text for text in ADDRESSES if "\0" not in text and len(text) < 3_000]
    for text in texts[:: 24 if short else 2]:
        ended: Ended = run_cli(home, "run", "tend", f"--repo={scene.filled(text)}")
        trials += 1
        wrong += [f"{text!r}: {ended.err}"] if "Traceback" in ended.err or ended.code > 100 else []
    return trials, wrong


def control_of_addresses(scene: Scene) -> int:
    """How many of the addresses run something for plain git, called as it must not be."""
    env = {"PATH": scene.path, "GIT_ALLOW_PROTOCOL": "ext:file:ssh:fd", "HOME": str(scene.folder)}
    for text in ADDRESSES:
        filled = scene.filled(text)
        if "\0" in filled or len(filled) > 3_000:
            continue
        for argv in (["git", "clone", "-q", filled, "naive"], ["sh", "-c", f"git clone -q {filled} naive"]):
            subprocess.run(
                argv, cwd=scene.folder, env=env, capture_output=True, check=False, timeout=30,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            shutil.rmtree(scene.folder / "naive", ignore_errors=True)
    ran = len(scene.marks())
    for mark in scene.fired.iterdir():
        mark.unlink()
    return ran


def addresses_and_refs(folder: Path, *, short: bool) -> None:
    """Every hostile text through every door that takes an address or a ref to read from."""
    scene = Scene(folder)
    ran = control_of_addresses(scene)
    before = scene.refs()
    documents, admitted_wrong = admitted(scene, short)
    clones, came = cloned(scene, short)
    names, named_wrong = named(scene)
    commands, commanded_wrong = commanded(scene, short)
    wrong = [*admitted_wrong, *named_wrong, *commanded_wrong, *scene.marks()]
    wrong += [] if scene.refs() == before else ["refs"]
    doors = f"{documents} documents, {clones} clones {came}, {names} names, {commands} commands"
    told(f"hostile addresses and refs ({doors})", documents + clones + names + commands, wrong)
    print(f"control: {ran} addresses run something for plain git")
    assert wrong == []
    assert ran >= 10


async def staged(scene: Scene, workspace: Workspace, order: Order, texts: Sequence[str]) -> list[str]:
    """Every text as the target of a push and a pull request, and given to the push itself."""
    wrong, head = [], scene.refs()["refs/heads/main"]
    for text in map(scene.filled, texts):
        (workspace.repositories[0].files / "roof.txt").write_text(f"tight {next(scene.number)}\n")
        desk = EffectDesk.of(order, {}, [])
        for kind in ("push", "pull_request"):
            try:
                effect = desk.take(StagedEffect(kind, f"shop:{text}", "Body.", title="Title"), workspace, task=1)
            except UnicodeEncodeError:
                continue  # half a character comes in by no door: a line of JSON that has one is none
            if effect.refusal is None and not is_pushable(text):
                wrong.append(f"{kind} {text!r} was taken")
            elif effect.refusal is None and kind == "push":
                await desk.perform(effect, workspace)
        if not is_pushable(text):
            with contextlib.suppress(ValueError):
                repository = workspace.repositories[0]
                await push(workspace.git, repository.git_dir, str(scene.bare), head, text, timeout_s=20)
                wrong.append(f"{text!r} was pushed")
    return wrong


def naive_pushes(scene: Scene) -> int:
    """How many refs plain git makes, moves or takes away for the same texts."""
    other = scene.folder / "naive.git"
    shutil.copytree(scene.bare, other)
    work, changed = scene.folder / "shop", 0
    env = {"PATH": scene.path, "HOME": str(scene.folder), "GIT_CONFIG_GLOBAL": os.devnull}
    for text in REFS:
        filled = scene.filled(text)
        if "\0" in filled or not filled.isprintable():
            continue
        before = refs_in(other)
        for spec in (f"+HEAD:{filled}", filled):
            argv = ["git", "push", "-q", str(other), spec]
            subprocess.run(argv, cwd=work, env=env, capture_output=True, check=False)
        changed += before != refs_in(other)
    return changed


def pushes(folder: Path, *, short: bool) -> None:
    """Every hostile ref staged as a push and as a pull request to a real remote."""
    scene = Scene(folder)
    moved = naive_pushes(scene)
    for mark in scene.fired.iterdir():
        mark.unlink()
    before, order, texts = scene.refs(), scene.order(str(scene.bare)), some(REFS, short, 3)

    async def story() -> list[str]:
        return await staged(scene, await lay_out(order), order, [*texts, "claude/fine"])

    wrong = asyncio.run(story())
    after = scene.refs()
    wrong += [f"{name} moved" for name, was in before.items() if after.get(name) != was]
    made = after.keys() - before.keys()
    wrong += [f"{name} made" for name in made if not BRANCH.fullmatch(name.removeprefix("refs/heads/"))]
    wrong += scene.marks()
    trials = 3 * len(texts)
    told(f"hostile refs staged ({len(made)} harmless ones pushed)", trials, wrong)
    print(f"control: {moved} of these texts change a ref when plain git is given them")
    assert wrong == []
    assert "refs/heads/claude/fine" in after
    assert moved >= 10


def paths(folder: Path, *, short: bool) -> None:
    """Every hostile path as the file that an effect reads, and as the one that it writes."""
    scene = Scene(folder)
    order = scene.order(str(scene.bare))
    run = Path(order.run_dir)
    workspace = asyncio.run(lay_out(order))
    files = workspace.repositories[0].files
    for place in (run / "secret", folder / "secret", run / "workspace/secret", run / "workspace/shop/.git/config"):
        place.parent.mkdir(exist_ok=True)
        place.write_text(SECRET if place.parent != run / "workspace" else "")
    for name, target in (("link", "../../secret"), ("up", "../.."), ("loop", "loop"), ("deep/link", "../../..")):
        (files / name).parent.mkdir(exist_ok=True)
        (files / name).symlink_to(target)
    os.mkfifo(files / "pipe")
    (files / ".git/config").write_text("")
    wrong, naive, texts = list[str](), 0, [scene.filled(text) for text in some(PATHS, short, 4)]
    for text in texts:
        desk = EffectDesk.of(order, {}, [])
        taken = desk.take(StagedEffect("file", "x.md", path=text), workspace, task=1)
        wrong += [f"read {text!r}"] if SECRET in taken.body else []
        effect = desk.take(StagedEffect("file", text, "written"), workspace, task=1)
        if effect.refusal is None:
            asyncio.run(desk.perform(effect, workspace))
    for text in PATHS:
        with contextlib.suppress(OSError, ValueError):
            fifo_or_device = text in ("shop/pipe", "/dev/zero")
            naive += not fifo_or_device and SECRET in (workspace.root / text).read_text()
    small = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size == len("written")]
    written = [path for path in small if path.read_bytes() == b"written"]
    wrong += [f"wrote {path}" for path in written if not path.is_relative_to(order.outbox_dir)]
    wrong += scene.marks()
    told("hostile paths read and written", 2 * len(texts), wrong)
    print(f"control: {naive} of these paths read what lies beside the run when they are just opened")
    assert wrong == []
    assert naive >= 4


async def worked_on(scene: Scene, trap: Trap) -> str:
    """A repository cloned, changed as a model would, and pushed by the runner: what came of it."""
    order = scene.order(str(trap.repository.folder))
    try:
        workspace = await lay_out(order)
    except WorkspaceFailed:
        return "not cloned"
    files = workspace.repositories[0].files
    (files / "mended.txt").write_text("tight\n")
    (files / "roof.txt").write_text("tight\n")
    (files / "aside").symlink_to("/etc")
    desk = EffectDesk.of(order, {}, [])
    effect = desk.take(StagedEffect("push", "shop:claude/x", "Body.", title="Mend"), workspace, task=1)
    assert effect.refusal is None
    return (await desk.perform(effect, workspace)).state


def traps(folder: Path, wires: Sequence[Tripwire]) -> None:
    """Every trap set twice: plain work springs one, a run on the other does not."""
    scene, dead, wrong, came = Scene(folder), list[str](), list[str](), dict[str, int]()
    for name in ("armed", "control"):
        (folder / name).mkdir()
    for wire in wires:
        control, trap = Trap(folder / "control", wire.name), Trap(folder / "armed", wire.name)
        for each in (control, trap):
            wire.arm(each)
            for mark in each.fired():
                (each.outside / "fired" / mark).unlink()
        wire.spring(control)
        dead += [] if control.fired() else [wire.name]
        before = _other_refs(trap)
        state = asyncio.run(worked_on(scene, trap))
        came[state] = came.get(state, 0) + 1
        wrong += [f"{wire.name}: {mark}" for mark in trap.fired()]
        wrong += [] if _other_refs(trap) == before else [f"{wire.name}: another branch moved"]
    wrong += scene.marks()
    told(f"hostile repositories {came}", len(wires), wrong)
    print(f"control: {len(wires) - len(dead)} of {len(wires)} traps are sprung by plain work")
    assert (wrong, dead) == ([], [])


def _other_refs(trap: Trap) -> dict[str, bytes]:
    """The refs but those below `claude/`: git itself could spring the trap."""
    places = (trap.repository.folder / ".git", trap.outside / "elsewhere.git")
    found = {name: body for place in places for name, body in refs_in(place).items()}
    return {name: body for name, body in found.items() if "/claude/" not in name}


@pytest.mark.heavy
@pytest.mark.promise("ENV-1")
def test_a_hostile_address_or_ref_runs_nothing_by_any_door(tmp_path: Path) -> None:
    addresses_and_refs(tmp_path, short=True)


@pytest.mark.heavy
@pytest.mark.promise("ENV-4")
def test_a_hostile_ref_reaches_no_branch_outside_claude(tmp_path: Path) -> None:
    pushes(tmp_path, short=True)


@pytest.mark.heavy
@pytest.mark.promise("ENV-4")
def test_a_hostile_path_leads_out_of_neither_workspace_nor_outbox(tmp_path: Path) -> None:
    paths(tmp_path, short=True)


@pytest.mark.heavy
@pytest.mark.promise("ENV-1")
def test_hostile_repositories_are_worked_on_and_run_nothing(tmp_path: Path) -> None:
    traps(tmp_path, HOSTILE[5::STRIDE])


@pytest.mark.faults
@pytest.mark.promise("ENV-1")
def test_every_hostile_address_and_ref_runs_nothing_by_any_door(tmp_path: Path) -> None:
    addresses_and_refs(tmp_path, short=False)


@pytest.mark.faults
@pytest.mark.promise("ENV-4")
def test_every_hostile_ref_and_path_leads_nowhere_else(tmp_path: Path) -> None:
    for part in (pushes, paths):
        (tmp_path / part.__name__).mkdir()
        part(tmp_path / part.__name__, short=False)


@pytest.mark.faults
@pytest.mark.promise("ENV-1")
def test_every_hostile_repository_is_worked_on_and_runs_nothing(tmp_path: Path) -> None:
    assert len({wire.name for wire in HOSTILE}) == len(HOSTILE) >= 100
    traps(tmp_path, HOSTILE)
