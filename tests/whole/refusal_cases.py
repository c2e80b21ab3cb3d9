"""Refusals as people meet them: for each a command line, and what lies beside the home or was done to it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from minion.config import Home, held
from tests.minion.stored_runs import numbered_id
from tests.minion.zip_forge import Forged, forged_zip
from tests.whole.refusals_said import Case, routine

ADD: Final = "routine add b.yaml"
SKILL: Final = b"---\nname: greet\ndescription: Greets. Use it in tests.\n---\n"
ANOTHER: Final = "0f0f0f0f-0000-4000-8000-000000000000"


def b(title: str, code: str, /, **changes: Any) -> Case:
    """A routine file with these changes is offered."""
    return Case(title, code, "routine add b.json", {"b.json": routine(**changes)})


def cron(name: str, line: Any) -> Case:
    """A routine with this schedule is offered."""
    return b(name, "bad_schedule", cron_expression=line)


def yaml(name: str, code: str, body: str | bytes) -> Case:
    """A routine file with this text is offered."""
    return Case(name, code, ADD, {"b.yaml": body})


def archive(name: str, code: str, *entries: Forged) -> Case:
    """A skill archive with these entries is offered."""
    packed = forged_zip([Forged(b"SKILL.md", SKILL), *entries])
    return Case(name, code, "skill add greet.zip", {"greet.zip": packed})


def rarely(case: Case) -> Case:
    """The case, in the longer suite only: others are refused on the same way."""
    return replace(case, heavy=True)


def configured(**changes: Any) -> Callable[[Home], object]:
    """The home's file says something else."""

    def change(home: Home) -> None:
        said = json.loads(home.config_file.read_bytes()) | changes
        home.config_file.write_text(json.dumps(said))

    return change


def secret(body: str, mode: int = 0o600) -> Callable[[Home], object]:
    """The home's secrets file has this text and mode."""

    def write(home: Home) -> None:
        home.secrets_file.write_text(body)
        home.secrets_file.chmod(mode)

    return write


def stored(*statements: str) -> Callable[[Home], object]:
    """Something was done to the store, by SQL."""

    def change(home: Home) -> None:
        connection = sqlite3.connect(home.store, isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()

    return change


def truncated(home: Home) -> None:
    """The store lost its second half."""
    os.truncate(home.store, home.store.stat().st_size // 2)


def never_opened(home: Home) -> None:
    """There is neither a store nor a run."""
    home.store.unlink()
    shutil.rmtree(home.runs)


def gone(home: Home) -> None:
    """The store is not there any more; the runs beside it are."""
    home.store.unlink()


def in_the_way(path: str) -> Callable[[Home], object]:
    """A folder stands where a file of the home should."""
    return lambda home: (home.root / path).mkdir()


def replaced_by_folder(home: Home) -> None:
    """A folder stands in the place of minion.json."""
    home.config_file.unlink()
    home.config_file.mkdir()


def linked(folder: Path) -> None:
    """A skill's folder with a link that leads out of it."""
    (folder / "greet").mkdir()
    (folder / "greet" / "SKILL.md").write_bytes(SKILL)
    (folder / "greet" / "notes.md").symlink_to("/etc/passwd")


def full_disk(kibibytes: int) -> Callable[[Home], AbstractContextManager[object]]:
    """The disk takes no file that is larger."""

    @contextmanager
    def limited(home: Home) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kibibytes * 1024, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


HOMES: Final = (
    Case("no home yet", "no_home", "runs", fresh=True),
    Case("a minion's name that is no slug", "bad_name", "init --name 'Not A Slug'", fresh=True),
    Case("a home below a file", "home_unwritable", "init", {"home": "a file"}, fresh=True),
    Case("a home whose minion.json is a folder", "home_unreadable", "runs", before=replaced_by_folder),
    Case("a home whose minion.json is no JSON", "bad_config", "runs",
         before=lambda home: home.config_file.write_text("{")),
    Case("a home with an unknown key", "bad_config", "runs", before=configured(colour="red")),
    Case("a home with no number of runs", "bad_config", "runs", before=configured(keep_runs="all")),
    Case("a home owned by another process", "home_held", "routine remove a",
         around=lambda home: held(home, "minion run nightly")),
    Case("a home whose lock is held while a skill is added", "home_held", "skill new hello",
         around=lambda home: held(home, "minion run nightly")),
    Case("a home that has no store yet", "no_store", "runs",
         before=never_opened),
    Case("a store that is gone, and a run", "store_missing", "run a", before=gone),
    Case("a store that is gone, and a listing", "store_missing", "runs", before=gone),
    Case("an empty store", "store_missing", "run a", before=lambda home: home.store.write_bytes(b"")),
    Case("an unreadable store, and a run", "store_unreadable", "run a",
         before=lambda home: home.store.write_bytes(b"not a database, just words\n" * 400)),
    Case("an unreadable store, and a listing", "store_unreadable", "runs",
         before=lambda home: home.store.write_bytes(b"not a database, just words\n" * 400)),
    Case("a truncated store", "store_unreadable", "run a", before=truncated),
    Case("a store of a newer version", "store_newer", "run a", before=stored("PRAGMA user_version = 99")),
    Case("a store of another minion", "store_of_another", "run a", before=configured(minion_id=ANOTHER)),
    Case("a store that cannot be made", "store_not_made", "run a",
         before=lambda home: (never_opened(home), (home.root / "minion.db.new").mkdir())),
    Case("a full disk, and the store", "store_failed", "routine add b.json",
         {"b.json": routine(content="x" * 60_000)}, around=full_disk(64)),
    Case("a full disk, and a routine's file", "cannot_write", "routine add a.json --replace",
         {"a.json": routine(name="a", content="x" * 45_000)}, around=full_disk(40)),
    Case("a routine's file that cannot be written", "cannot_write", "routine add b.json",
         {"b.json": routine()}, before=in_the_way("routines/b.json")),
    Case("secrets that are no JSON", "secrets_format", "run a", before=secret("slack_webhook=x")),
    Case("secrets that others can read", "secrets_mode", "run a", before=secret("{}", 0o644)),
    Case("a secret too short to be hidden", "secrets_short", "run a", before=secret('{"slack_webhook": "x"}')),
    Case("secrets that are a link", "secrets_unreadable", "run a",
         before=lambda home: home.secrets_file.symlink_to(home.root / "elsewhere.json")),
)  # fmt: skip

ROUTINES: Final = (
    Case("a routine file that is not there", "no_file", "routine add nowhere.yaml"),
    b("an unknown skill", "no_such_skill", pipeline=["daily-report"]),
    b("neither prompt nor pipeline", "nothing_to_do", pipeline=[], content=None),
    b("an author-listed execution-report", "report_skill_listed", pipeline=["say", "execution-report"]),
    yaml("YAML with aliases", "yaml_alias", "name: &n b\ncontent: *n\n"),
    yaml("YAML over 256 KiB", "document_too_large", "content: " + "x" * 262_144),
    yaml("YAML nested over 50", "nested_too_deep", "[" * 60),
    rarely(yaml("a file that is no YAML", "not_yaml", "name: b: c\n")),
    rarely(Case("a file that is no JSON", "not_json", "routine add b.json", {"b.json": '{"name": }'})),
    rarely(yaml("an empty file", "document_empty", "\n")),
    b("an unknown key", "unknown_key", schedule="daily"),
    b("a name that is no slug", "bad_name", name="Morning Report"),
    b("another minion's id", "other_minion", minion_id=ANOTHER),
    rarely(b("another routine's id", "routine_id", name="a", id="trig_0100000000000000000000")),
    rarely(b("a pipeline that is one text", "wrong_type", pipeline="say")),
    rarely(cron("a cron of four fields", "0 9 * *")),
    rarely(cron("a cron with a minute out of range", "99 99 * * *")),
    cron("a cron with an hour out of range", "0 24 * * *"),
    rarely(cron("a cron with a day out of range", "0 9 32 * *")),
    rarely(cron("a cron with an unknown month", "0 9 1 foo *")),
    cron("a cron with a reversed range of weekdays", "0 9 * * 5-1"),
    cron("a cron that never fires", "0 0 30 2 *"),
    rarely(b("a cron that is a number", "wrong_type", cron_expression=5)),
    rarely(b("an unknown time zone", "unknown_zone", cron_expression="0 9 * * *", timezone="Berlin")),
    rarely(b("a limit out of range", "out_of_range", limits={"wall_clock_s": 0})),
    rarely(b("a repository by a relative path", "relative_repository", repositories=["shop"])),
    rarely(b("a push to a branch that is not ours", "bad_effect", effects=["push:shop:main"])),
    rarely(b("an engine that is not here", "engine_missing", engine="messages")),
    rarely(b("a skill that requires another which is not here", "requires_missing", pipeline=["lonely"])),
    rarely(b("a skill that claims a rigid step", "rigid_code", pipeline=["sly"])),
    rarely(yaml("repositories left out of a file that cannot take them", "not_rewritable",
         "{name: b, pipeline: [say], content: x, repositories}\n")),
    b("a routine that is there with other content", "routine_exists", name="a", content="other"),
    Case("a routine that is not there", "no_such_routine", "run b"),
    Case("a routine whose name has a slip", "no_such_routine", "run AB"),
    Case("a routine to show that is not there", "no_such_routine", "routine show b"),
    Case("a beginning that several routines have", "ambiguous", "routine show trig_01"),
    Case("a file that holds another routine, and was never good", "routine_name", "run c",
         before=lambda home: (home.routines / "c.json").write_text(routine())),
    Case("no template named", "no_template", "routine new"),
    Case("an unknown template", "no_such_template", "routine new --template standup"),
)  # fmt: skip

RUNS: Final = (
    Case("an input file that is not there", "no_input", "run a --input @nowhere.txt"),
    Case("an input file that is not UTF-8", "no_input", "run a --input @in.txt", {"in.txt": b"caf\xe9"}),
    Case("an input over 65,536 characters", "long_input", "run a --input @in.txt", {"in.txt": "x" * 65_537}),
    Case("a repository that is in no checkout", "no_repository", "run a --repo ."),
    Case("an engine that is not here, for one run", "engine_missing", "run a --engine messages"),
    Case("an unknown state", "bad_state", "runs --state brilliant"),
    Case("a run that is not there", "no_such_run", "show run_09"),
    Case("a beginning that several runs have", "ambiguous", "show run_01"),
    Case("a run that was pruned", "pruned", f"show {numbered_id('run_', 1)}"),
)

SKILLS: Final = (
    Case("a skill that is not there", "no_such_skill", "skill show nobody"),
    Case("a skill to remove that is not there", "no_such_skill", "skill remove nobody"),
    Case("a skill folder that is not there", "no_skill_there", "skill add ./nowhere"),
    Case("a skill file outside its folder", "entry_name", "skill add greet.zip",
         {"greet.zip": forged_zip([Forged(b"SKILL.md", SKILL), Forged(b"../evil.py", b"x")])}),
    Case("a link in a skill's folder", "entry_kind", "skill add greet",
         before=lambda home: linked(home.root.parent)),
    archive("two names that are one", "entry_twice", Forged(b"a.md", b"x"), Forged(b"A.md", b"y")),
    Case("two skills in one archive", "several_skills", "skill add greet.zip",
         {"greet.zip": forged_zip([Forged(b"one/SKILL.md", SKILL), Forged(b"two/SKILL.md", SKILL)])}),
    Case("a file beside the skill's folder", "several_tops", "skill add greet.zip",
         {"greet.zip": forged_zip([Forged(b"greet/SKILL.md", SKILL), Forged(b"readme.md", b"x")])}),
    Case("no SKILL.md", "no_skill_file", "skill add greet.zip",
         {"greet.zip": forged_zip([Forged(b"skill.md", SKILL)])}),
    archive("an archive of too many files", "skill_too_large",
            *(Forged(b"%d" % number) for number in range(501))),
    Case("a file that is no archive", "archive_broken", "skill add greet.zip", {"greet.zip": b"PK, but no zip"}),
    rarely(Case("a skill without a header", "no_frontmatter", "skill add greet", {"greet/SKILL.md": "# Greet\n"})),
    rarely(Case("a skill whose name is not its folder's", "name_is_not_folder", "skill show greets",
         {"home/skills/greets/SKILL.md": SKILL})),
    rarely(Case("a skill that says nothing of itself", "blank_description", "skill add greet",
         {"greet/SKILL.md": '---\nname: greet\ndescription: " "\n---\n'})),
    rarely(Case("a skill by the name of a bundled one", "skill_clash", "skill new send-to-slack")),
    Case("a skill that is there with other content", "skill_exists", "skill add say",
         {"say/SKILL.md": SKILL.replace(b"greet", b"say")}),
    rarely(Case("a skill that is begun where one is", "skill_exists", "skill new greet --dir .",
                {"greet/x": "x"})),
    rarely(Case("a skill begun in a folder that is not there", "no_folder", "skill new greet --dir nowhere")),
    Case("a bundled skill to be removed", "skill_bundled", "skill remove send-to-slack"),
    Case("a skill to be removed that a routine uses", "skill_in_use", "skill remove say"),
)  # fmt: skip

USAGE: Final = (
    Case("an unknown command", None, "rum a"),
    Case("an unknown option", None, "runs --limits 5"),
    Case("a missing argument", None, "run"),
    Case("an option without its value", None, "run a --input"),
    Case("a number that is none", None, "runs --limit many"),
)

CASES: Final = (*HOMES, *ROUTINES, *RUNS, *SKILLS, *USAGE)
