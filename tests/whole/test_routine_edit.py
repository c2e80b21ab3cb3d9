"""`minion routine edit`: a draft in the person's own editor, kept only when it passes, and never lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from minion.config import Home
from tests.whole.homes import clean_environment, command_line, make_home
from tests.whole.refusals_said import Place, Told, say
from tests.whole.terminals import at_terminal

pytestmark = pytest.mark.heavy

ROUTINE = "# ours\nname: weekly\npipeline: [write-weekly-digest]\nrepositories: []\n"
DRAFT = ".weekly.draft.yaml"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with one routine, as its author wrote it; each test leaves it as it was."""
    home = make_home(tmp_path_factory.mktemp("kept"))
    (home.root.parent / "weekly.yaml").write_text(ROUTINE)
    assert say(Place(home.root.parent), "routine add weekly.yaml").exit_code == 0
    return home


@pytest.fixture(autouse=True)
def nothing_stays(kept: Home) -> None:
    """Every test begins with the routine as added, and no draft."""
    (kept.routines / "weekly.yaml").write_text(ROUTINE)
    (kept.routines / DRAFT).unlink(missing_ok=True)


def files(home: Home) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(home.routines.iterdir())}


def edited(home: Home, editor: str, monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setenv("VISUAL", editor)
    return say(Place(home.root.parent), "routine edit weekly")


@pytest.mark.promise("CLI-13")
def test_what_the_editor_saved_is_checked_and_kept_with_its_comments(
    kept: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = edited(kept, "sed -i s/ours/mine/", monkeypatch)
    assert (ended.exit_code, ended.err) == (0, "")
    assert "weekly is kept in " in ended.out
    assert files(kept) == {"weekly.yaml": ROUTINE.replace("ours", "mine")}


def test_a_draft_that_is_no_routine_leaves_the_routine_and_is_gone_on_with_next_time(
    kept: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = edited(kept, "sed -i s/pipeline/pipelin/", monkeypatch)
    assert (ended.code, ended.exit_code, ended.out) == ("unknown_key", 2, "")
    assert "`pipelin` is not a known key" in ended.err
    assert f"your draft is kept: {kept.routines / DRAFT}" in ended.err
    broken = ROUTINE.replace("pipeline", "pipelin")
    assert files(kept) == {DRAFT: broken, "weekly.yaml": ROUTINE}
    assert (kept.routines / DRAFT).stat().st_mode & 0o777 == 0o600
    # A draft beside the routine is no routine: nothing else takes it for one.
    assert "weekly" in say(Place(kept.root.parent), "skill show write-weekly-digest").out
    ended = edited(kept, "sed -i -e s/pipelin:/pipeline:/ -e s/ours/mine/", monkeypatch)
    assert (ended.exit_code, files(kept)) == (0, {"weekly.yaml": ROUTINE.replace("ours", "mine")})
    assert "Going on with the draft of last time" in ended.err


@pytest.mark.parametrize(
    ("editor", "code", "err"),
    [
        ("true", None, ""),
        ("false", "editor_failed", "The editor false ended with 1; the routine is as it was."),
        ("sed -i s/weekly/monthly/", "routine_name", "holds the routine monthly, not weekly"),
    ],
)
def test_an_editor_that_changes_nothing_fails_or_renames_leaves_the_routine_as_it_was(
    kept: Home, monkeypatch: pytest.MonkeyPatch, editor: str, code: str | None, err: str
) -> None:
    ended = edited(kept, editor, monkeypatch)
    assert (ended.code, err in ended.err, ended.err.count("hint: ")) == (code, True, int(code is not None))
    assert files(kept)["weekly.yaml"] == ROUTINE
    assert (DRAFT in files(kept)) == (code == "routine_name")
    assert ended.out == ("Nothing was changed.\n" if code is None else "")


def test_a_routine_that_somebody_else_changed_meanwhile_is_not_written_over(
    kept: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = kept.root.parent / "other"
    theirs = ROUTINE.replace("ours", "theirs")
    script.write_text(f"#!/bin/sh\nsed -i s/ours/mine/ \"$1\"\nprintf '{theirs}' > {kept.routines}/weekly.yaml\n")
    script.chmod(0o755)
    ended = edited(kept, str(script), monkeypatch)
    assert (ended.code, ended.exit_code) == ("changed_meanwhile", 3)
    assert files(kept) == {DRAFT: ROUTINE.replace("ours", "mine"), "weekly.yaml": theirs}


def test_without_any_editor_one_is_asked_for(kept: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("EDITOR", raising=False)
    ended = edited(kept, 'an "unclosed quote', monkeypatch)
    file = kept.routines / "weekly.yaml"
    assert (ended.code, ended.err.splitlines()) == (
        "no_editor",
        [
            '! VISUAL names an editor that is not here: an "unclosed quote',
            "minion: No editor was found.",
            f"hint: name one with `export VISUAL=PROGRAM`; or edit {file}, then"
            f" `minion --home {kept.root} routine add {file} --replace`",
        ],
    )
    assert files(kept) == {"weekly.yaml": ROUTINE}


def test_an_editor_nobody_named_is_not_opened_without_a_terminal(
    kept: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = tmp_path / "vi"
    here.write_text(f"#!/bin/sh\necho opened > {tmp_path}/seen\n")
    here.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("EDITOR", raising=False)
    for named, warned in (("", False), ("frob --wait", True)):
        ended = edited(kept, named, monkeypatch)
        assert (ended.code, ended.exit_code) == ("no_terminal", 3)
        assert ("! VISUAL names an editor that is not here: frob --wait" in ended.err) is warned
    assert not (tmp_path / "seen").exists()
    assert files(kept) == {"weekly.yaml": ROUTINE}


def test_after_a_failed_editor_the_hint_names_one_that_is_here(
    kept: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, body in (("fails", "#!/bin/sh\nexit 3\n"), ("vi", "#!/bin/sh\n"), ("odd", "\x00no program")):
        (tmp_path / name).write_text(body)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, said in (("fails", "ended with 3"), ("odd", "cannot be started")):
        ended = edited(kept, name, monkeypatch)
        assert (ended.code, said in ended.err) == ("editor_failed", True)
        assert ended.err.endswith("hint: name another editor with `export VISUAL=vi`\n")
    assert files(kept) == {"weekly.yaml": ROUTINE}


def test_a_draft_can_be_thrown_away(kept: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    discard = f"minion --home {kept.root} routine edit weekly --discard"
    assert f"`{discard}` throws it away" in edited(kept, "sed -i s/pipeline/pipelin/", monkeypatch).err
    assert f"`{discard}` throws it away" in edited(kept, "true", monkeypatch).err
    for said in ("The draft of weekly is thrown away; the routine is as it was.", "There is no draft of weekly."):
        ended = say(Place(kept.root.parent), "routine edit weekly --discard")
        assert (ended.exit_code, ended.out) == (0, f"{said}\n")
        assert files(kept) == {"weekly.yaml": ROUTINE}


def test_a_renamed_draft_is_told_that_the_name_stays(kept: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = edited(kept, "sed -i s/weekly/monthly/", monkeypatch)
    assert "hint: put `name: weekly` back, the name stays: another name is another routine" in ended.err
    assert "rename the file" not in ended.err


def test_a_file_that_was_never_taken_in_can_be_mended(kept: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    file = kept.routines / "broken.yaml"
    file.write_text(ROUTINE.replace("name: weekly", "name: broken").replace("pipeline", "pipelin"))
    monkeypatch.setenv("VISUAL", "sed -i s/pipelin:/pipeline:/")
    ended = say(Place(kept.root.parent), "routine edit broken")
    assert (ended.exit_code, ended.err, "broken is kept in " in ended.out) == (0, "", True)
    assert say(Place(kept.root.parent), "routine remove broken").exit_code == 0
    assert files(kept) == {"weekly.yaml": ROUTINE}
    for outside in ("../minion", "nobody"):
        assert say(Place(kept.root.parent), f"routine edit {outside}").code == "no_such_routine"


@pytest.mark.heavy
def test_at_a_terminal_a_draft_with_a_mistake_can_be_edited_again(kept: Home) -> None:
    script = kept.root.parent / "twice"
    script.write_text(
        "#!/bin/sh\n"
        'grep -q pipelin: "$1" && sed -i s/pipelin:/pipeline:/ "$1" || sed -i s/pipeline:/pipelin:/ "$1"\n'
    )
    script.write_text(script.read_text() + 'sed -i s/ours/mine/ "$1"\n')
    script.chmod(0o755)
    env = {**clean_environment(kept), "EDITOR": str(script)}
    with at_terminal(command_line(kept, "routine", "edit", "weekly"), env=env, cwd=kept.root.parent) as terminal:
        terminal.wait_for("`pipelin` is not a known key")
        terminal.type("Edit it again? [Y/n]: ", "")
        assert terminal.ended() == 0
    assert files(kept) == {"weekly.yaml": ROUTINE.replace("ours", "mine")}
