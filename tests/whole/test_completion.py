"""Completion: what a shell offers for the word being typed, quickly, and never an error on the user's line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minion.cli import minion, run
from minion.commands.completion import SCRIPTS, SHELLS, candidates, words_of_line
from minion.config import Home
from tests.house.source_tree import ROOT
from tests.minion.stored_runs import CODES, NOW, Teller, make_order, numbered_id, perform, with_store
from tests.whole.homes import MINION, clean_environment, make_home, write_skill
from tests.whole.terminals import at_terminal

RUNS = [numbered_id("run_", number) for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with two routines, a skill, one with a name that a shell would read, and three runs."""
    from minion.store.routines import keep_routine
    from minion.store.writer import Writer

    made = make_home(tmp_path_factory.mktemp("completed"))
    write_skill(made, "count-sheep", "print(1)")
    write_skill(made, "$(touch pwned)", "print(1)")

    async def story(writer: Writer) -> None:
        for name in ("morning-report", "evening-report"):
            document = {"name": name, "id": None, "pipeline": [], "content": "x"}
            await writer.transact(
                lambda db, kept=document: keep_routine(db, kept, source="f", replace=False, now=NOW)  # type: ignore[misc]
            )
        for number, routine in ((1, "morning-report"), (2, "evening-report"), (3, "morning-report")):
            told = Teller(number).beginning().step("LLM-EXECUTE-PROMPT").report().leave()
            await perform(writer, make_order(number, routine=routine), told.block(CODES[3], "SCR-PUSH-BRANCH"))

    with_store(made.root, story)
    return made


def offered(home: Home | Path, line: str) -> list[str]:
    """What is offered for the last word of a command line."""
    root = home.root if isinstance(home, Home) else home
    return [item.value for item in candidates(minion, *typed(f"minion --home {root} {line}"))]


def typed(line: str) -> tuple[list[str], str]:
    """The arguments before the word being typed, and that word."""
    words = words_of_line(line)
    return words[1:-1], words[-1]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ru", ["run", "runs"]),
        ("skill re", ["remove"]),
        ("runs --rou", ["--routine"]),
        ("runs --state comp", ["completed"]),
        ("runs --state=comp", ["completed"]),
        ("runs --routine mor", ["morning-report"]),
        ("run ", ["evening-report", "morning-report"]),
        ("run 'mor", ["morning-report"]),
        ("show la", ["last"]),
        ("show morning-report@", ["morning-report@last"]),
        ("effects run_", RUNS[::-1]),
        ("verify ev", ["evening-report@last"]),
        (f"show {RUNS[1]}", [RUNS[1]]),
        ("skill show count", ["count-sheep"]),
        ("skill remove ", ["count-sheep"]),
        ("completion ", list(SHELLS)),
        ("run morning-report ", []),
        ("__", []),
    ],
)
def test_the_word_being_typed_is_completed(home: Home, line: str, found: list[str]) -> None:
    assert offered(home, line) == found


def test_what_a_shell_would_read_as_its_own_is_never_offered(home: Home) -> None:
    assert not any("$" in name for name in offered(home, "skill show "))


def test_without_a_home_or_with_a_store_that_cannot_be_read_nothing_is_offered(tmp_path: Path) -> None:
    broken = make_home(tmp_path)
    broken.store.write_bytes(b"SQLite format 3\0" + b"not really" * 500)
    for place in (tmp_path / "nowhere", broken.root):
        for line in ("show ", "run ", "runs --routine "):
            assert offered(place, line) == []
    assert not (tmp_path / "nowhere").exists()


def test_each_shell_gets_a_script_that_says_where_to_put_it(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in SHELLS:
        assert run(minion, "minion", ["completion", shell]) == 0
        shown = capsys.readouterr().out
        assert shown == SCRIPTS[shell]
        assert f"minion completion {shell} >" in shown.partition("_minion_complete")[0]
        assert f"__complete {shell} " in shown
    assert run(minion, "minion", ["completion", "tcsh"]) == 2


def test_the_other_shells_get_types_values_and_helps(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    def answered(*words: str) -> list[str]:
        assert run(minion, "minion", ["--home", str(home.root), "__complete", "zsh", "--", "minion", *words]) == 0
        return capsys.readouterr().out.splitlines()

    assert answered("verif") == ["plain\tverify\tCheck that the log is intact."]
    # They replace the whole word, the option before the sign included.
    assert answered("runs", "--state=timed") == ["plain\t--state=timed_out"]
    assert answered("skill", "add", "./a") == ["file\t./a"]
    assert answered("--home", "/tm") == ["dir\t/tm"]
    assert answered() == []


def test_bash_completes_with_the_script(home: Home, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash on this machine")
    lines = [
        "minion sho", "minion runs --state fa", "minion show evening-report@", "minion runs --state=comp",
        "minion --home /nowhere show ", "minion show ",
    ]  # fmt: skip
    breaks = " \\t\\n\\\"\\'@><=;|&(:"
    ask = f"""source <('{MINION}' completion bash)
    while IFS= read -r COMP_LINE; do
        COMP_POINT=${{#COMP_LINE}} COMP_WORDBREAKS=$'{breaks}'
        COMP_WORDS=($COMP_LINE) COMP_CWORD=${{#COMP_WORDS[@]}}
        _minion_complete '{MINION}'
        printf '%s\\n' "${{COMPREPLY[*]}}"
    done
    complete -p minion"""
    ended = subprocess.run(
        [bash, "--norc", "-c", ask],
        input="\n".join(lines) + "\n",
        env=clean_environment(home) | {"MINION_HOME": str(home.root)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    *offers, registered = ended.stdout.splitlines()
    # bash keeps what stands before its word breaks: of `=` the sign too, of `@` not.
    runs = " ".join(["last", "evening-report@last", "morning-report@last", *RUNS[::-1]])
    assert offers == ["show", "failed", "@last", "completed", "", runs]
    assert (registered, ended.stderr) == ("complete -o nosort -F _minion_complete minion", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "value"),
    [
        # readline has `@` begin a host's name, and replaces it; of `=` it keeps all in front.
        ("show evening-report@l", "@last"),
        ("show evening-report@", "@last"),
        ("runs --state=fai", "failed"),
        ("show 'evening-report@l", "evening-report@last"),
    ],
)
def test_bash_gets_what_it_puts_in_the_place_of_the_word(
    home: Home, capsys: pytest.CaptureFixture[str], line: str, value: str
) -> None:
    asked = ["__complete", "bash", f"minion --home {home.root} {line}", " \t\n\"'@><=;|&(:"]
    assert run(minion, "minion", asked) == 0
    assert capsys.readouterr().out.splitlines()[0].split("\t")[1] == value


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("minion show evening-report@l", "minion show evening-report@last"),
        ("minion show evening-report@", "minion show evening-report@last"),
        ("minion runs --state=fai", "minion runs --state=failed"),
        ("minion import rou", "minion import routines.yaml"),
        ("minion run evening-report --input @al", "minion run evening-report --input @alert.json"),
    ],
)
def test_a_tab_at_a_real_bash_completes_the_line_in_place(
    home: Home, tmp_path: Path, line: str, completed: str
) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash on this machine")
    for name in ("routines.yaml", "alert.json"):
        (tmp_path / name).touch()
    path = f"{MINION.parent}:{os.environ['PATH']}"
    env = clean_environment(home) | {"MINION_HOME": str(home.root), "PATH": path, "TERM": "dumb", "PS1": "> "}
    with at_terminal([bash, "--norc", "-i"], env=env | {"INPUTRC": os.devnull}, cwd=tmp_path) as terminal:
        terminal.type("> ", 'eval "$(minion completion bash)"')
        # What the line became is what is performed: the echo of the keys holds backspaces and bells.
        only_said = 'if [ "$1" = __complete ]; then command minion "$@"; else echo "<minion $*>"; fi'
        terminal.type("> ", f"minion() {{ {only_said}; }}")
        terminal.type("> ", f"{line}\t")
        terminal.wait_for(f"<{completed}>")


def test_files_are_offered_behind_an_at_sign_and_for_an_import(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alert.json", "al ert.json", ".alert", "sub/alarm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert offered(home, "run morning-report --input @al") == ["@alert.json"]
    assert offered(home, "run morning-report --input @") == ["@alert.json"]
    assert offered(home, "run morning-report --input @sub/") == ["@sub/alarm"]
    assert offered(home, "run morning-report --input @nowhere/") == []
    assert offered(home, "run morning-report --input al") == []
    (found,) = candidates(minion, ["--home", str(home.root), "import"], "al")
    assert (found.type, found.value) == ("file", "al")


def test_completing_a_command_imports_none_of_them(home: Home) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from minion.cli import minion, run\n"
        "run(minion, 'minion', ['__complete', 'bash', 'minion ru', ' '])\n"
        "heavy = ('minion.', 'yaml', 'pydantic', 'asyncio', 'sqlite3')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    asked = [sys.executable, "-I", "-c", code]
    ended = subprocess.run(asked, env=clean_environment(home), capture_output=True, text=True, check=True)
    *offers, loaded = ended.stdout.splitlines()
    assert [line.split("\t")[1] for line in offers] == ["run", "runs"]
    ours = {"minion.cli", "minion.commands", "minion.commands.completion", "minion.config", "minion.terminal"}
    ours |= {"minion.process_table", "minion.settings"}  # of minion.config: a few lines
    assert set(json.loads(loaded.replace("'", '"'))) == ours
