"""A routine's file is admitted strictly, and what the minion keeps of it says everything."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.contract.documents import admit, load_document
from server.contract.refusals import BadDocument
from server.contract.routine import Routine, admitted

MINION = "6f1c1e9e-4c5a-4d55-9d0e-0e6a0f6b9a11"
SEED = """{
"name": "morning-report",
"pipeline": ["write-daily-report", "send-to-slack"],
"content": "Write a daily report and post it to the team Slack channel",
"cron_expression": "0 9 * * 1-5",
"minion_id": "<uuid>"
}"""


def routine(**fields: Any) -> Routine:
    return admit(Routine, {"name": "nightly", "content": "x"} | fields, source="r.yaml")


def refusal_of(**fields: Any) -> BadDocument:
    with pytest.raises(BadDocument) as caught:
        routine(**fields)
    assert caught.value.sentence.endswith(".")
    assert caught.value.hint
    return caught.value


def test_the_printed_example_is_admitted_with_a_real_id() -> None:
    body = SEED.replace("<uuid>", MINION).encode()
    kept = admitted(
        admit(Routine, load_document(body, source="morning-report.json"), source="morning-report.json")
    )
    assert {key: kept[key] for key in json.loads(body)} == json.loads(body)
    assert kept["triggers"] == [{"type": "schedule", "cron": "0 9 * * 1-5", "timezone": None}]


def test_the_printed_example_with_its_placeholder_is_refused_with_a_hint() -> None:
    with pytest.raises(BadDocument, match="`minion_id` must be the UUID of a minion") as caught:
        admit(Routine, json.loads(SEED), source="morning-report.json")
    assert (caught.value.code, "minion init" in caught.value.hint) == ("bad_minion_id", True)


def test_a_network_is_kept_as_one_spelling_of_each_host() -> None:
    said = {"network": ["Example.com.", "*.Example.com:8443", "::1"], "setup": " \n"}
    kept = admitted(routine(environment=said))
    assert kept["environment"]["network"] == ["example.com", "*.example.com:8443", "[::1]"]
    assert kept["environment"]["setup"] is None
    assert admitted(routine(environment=kept["environment"])) == kept
    assert admitted(routine(environment={"network": "trusted"}))["environment"]["network"] == "trusted"
    assert admitted(routine(environment={"network": "full"}, sandbox="none"))["sandbox"] == "none"


def test_every_default_is_written_out() -> None:
    assert admitted(routine()) == {
        "name": "nightly",
        "id": None,
        "minion_id": None,
        "content": "x",
        "pipeline": [],
        "cron_expression": None,
        "timezone": None,
        "triggers": [],
        "scheduled_by": "minion",
        "repositories": None,
        "connectors": [],
        "environment": {"network": "none", "env": {}, "setup": None},
        "model": None,
        "engine": None,
        "process": "040.001",
        "limits": {
            "wall_clock_s": 3600,
            "turns": 50,
            "tokens": 2_000_000,
            "dollars": 1.0,
            "output_bytes": 262_144,
            "processes": 256,
            "disk_bytes": 2 * 1024**3,
            "memory_bytes": None,
        },
        "expect": [],
        "notify": [],
        "effects": None,
        "sandbox": "required",
        "overlap": "skip",
        "catch_up": "latest",
        "catch_up_window_s": None,
        "stagger_s": 0,
        "watch": {"failures": 1, "pause_after": None, "cost_rise": 3.0, "ping": None},
        "lock": "record",
        "resume": False,
        "paused": False,
        "report_to_hq": "summary",
    }


@pytest.mark.parametrize(
    ("fields", "field", "code", "hint"),
    [
        ({"name": "Morning Report"}, "`name`", "bad_name", "morning-report"),
        ({"name": "-a"}, "`name`", "bad_name", "write it as a"),
        ({"name": "last"}, "`name`", "reserved_name", "choose another"),
        ({"name": "Ünïcode"}, "`name`", "bad_name", "write it as unicode"),
        ({"name": "Straße"}, "`name`", "bad_name", "a name such as morning-report"),
        ({"timezone": 1, "limits": {"turns": None}}, "`limits.turns`", "wrong_type", "or leave the key out"),
        ({"name": "a\n"}, "`name`", "bad_name", "a"),
        ({"name": "a" * 65}, "`name`", "bad_name", "a"),
        ({"name": ""}, "`name`", "bad_name", "morning-report"),
        ({"id": "trig_1"}, "`id`", "bad_id", "whole id"),
        ({"content": " \n"}, "`content`", "nothing_to_do", "`pipeline`"),
        ({"content": None, "pipeline": []}, "`content`", "nothing_to_do", "prompt"),
        ({"pipeline": ["a", "execution-report"]}, "`pipeline[1]`", "report_skill_listed", "leave it out"),
        ({"pipeline": ["a--b"]}, "`pipeline[0]`", "bad_name", "one hyphen"),
        ({"pipeline": ["../x"]}, "`pipeline[0]`", "bad_name", "x"),
        ({"cron_expression": " "}, "`cron_expression`", "blank_schedule", "null"),
        ({"timezone": "../etc/passwd"}, "`timezone`", "bad_timezone", "Europe/Berlin"),
        ({"triggers": [{"type": "once", "at": "x"}] * 21}, "`triggers`", "out_of_range", "shorten"),
        ({"repositories": ["~/x"]}, "`repositories[0]`", "home_in_repository", "/home/you"),
        ({"repositories": ["x/y"]}, "`repositories[0]`", "relative_repository", "from / on"),
        ({"repositories": ["./x"]}, "`repositories[0]`", "relative_repository", "from / on"),
        ({"repositories": [{"url": "-x"}]}, "`repositories[0].url`", "bad_repository", "from / on"),
        ({"repositories": ["--upload-pack=x"]}, "`repositories[0]`", "bad_repository", "from / on"),
        ({"repositories": ["ext::sh -c true"]}, "`repositories[0]`", "bad_transport", "https://"),
        ({"repositories": ["file:///x"]}, "`repositories[0]`", "bad_transport", "absolute path"),
        ({"repositories": ["http://h/o/n"]}, "`repositories[0]`", "bad_transport", "https://"),
        ({"repositories": ["git://h/o/n"]}, "`repositories[0]`", "bad_transport", "https://"),
        (
            {"repositories": ["https://me:pw@h/o/n"]},
            "`repositories[0]`",
            "credentials_in_document",
            "credential",
        ),
        (
            {"repositories": ["https://token@h/o/n"]},
            "`repositories[0]`",
            "credentials_in_document",
            "credential",
        ),
        (
            {"repositories": ["ssh://git:pw@h/o/n"]},
            "`repositories[0]`",
            "credentials_in_document",
            "credential",
        ),
        ({"repositories": ["ssh://-oProxyCommand=x/y"]}, "`repositories[0]`", "bad_repository", "https://"),
        ({"repositories": ["https://h/o/n?token=x"]}, "`repositories[0]`", "bad_repository", "https://"),
        ({"repositories": ["https://h:99999/o"]}, "`repositories[0]`", "bad_repository", "https://"),
        ({"repositories": ["git@-h:o/n"]}, "`repositories[0]`", "relative_repository", "from / on"),
        ({"repositories": ["/a\nb"]}, "`repositories[0]`", "bad_repository", "plain"),
        ({"repositories": ["/a", "/b/A/"]}, "`repositories`", "duplicate_name", "`name`"),
        ({"repositories": [{"url": "/a", "name": ".git"}]}, "`repositories[0].name`", "bad_name", ".git"),
        ({"repositories": [{"url": "/a", "name": "a.GIT"}]}, "`repositories[0].name`", "bad_name", ".git"),
        ({"repositories": [{"url": "/a", "branch": "-f"}]}, "`repositories[0].branch`", "bad_branch", "main"),
        (
            {"repositories": [{"url": "/a", "branch": "a..b"}]},
            "`repositories[0].branch`",
            "bad_branch",
            "main",
        ),
        ({"connectors": ["Linear!"]}, "`connectors[0]`", "bad_name", "linear"),
        ({"environment": {"network": "all"}}, "`environment.network`", "unknown_choice", "one of these words"),
        ({"environment": {"network": "pypi.org"}}, "`environment.network`", "unknown_choice", "write [pypi.org]"),
        ({"environment": {"network": []}}, "`environment.network`", "unknown_choice", "[example.com]"),
        ({"environment": {"network": {"a": 1}}}, "`environment.network`", "unknown_choice", "[example.com]"),
        ({"environment": {"network": ["*"]}}, "`environment.network[0]`", "bad_host", "*.example.com"),
        ({"environment": {"network": ["a.com", "127.1"]}}, "`environment.network[1]`", "bad_host", "example.com"),
        ({"environment": {"network": ["https://a.com"]}}, "`environment.network[0]`", "bad_host", "example.com"),
        ({"environment": {"network": ["a.com"] * 101}}, "`environment.network`", "out_of_range", "shorten"),
        (
            {"environment": {"network": ["a.com"]}, "sandbox": "none"},
            "`environment.network`",
            "network_needs_sandbox",
            "leave `sandbox` out",
        ),
        (
            {"environment": {"network": "trusted"}, "sandbox": "none"},
            "`environment.network`",
            "network_needs_sandbox",
            "`network: full`",
        ),
        ({"environment": {"setup": "x" * 65_537}}, "`environment.setup`", "out_of_range", "fetch what is long"),
        ({"environment": {"env": {"lower": "x"}}}, "`environment.env.lower`", "bad_variable", "capitals"),
        (
            {"environment": {"env": {"GIT_DIR": "x"}}},
            "`environment.env.GIT_DIR`",
            "reserved_variable",
            "GIT_",
        ),
        (
            {"environment": {"env": {"LD_PRELOAD": "x"}}},
            "`environment.env.LD_PRELOAD`",
            "reserved_variable",
            "LD_",
        ),
        ({"environment": {"env": {"PYTHONPATH": "x"}}}, "env.PYTHONPATH`", "reserved_variable", "PYTHON"),
        ({"environment": {"env": {"MINION_HOME": "x"}}}, "env.MINION_HOME`", "reserved_variable", "MINION_"),
        ({"environment": {"env": {"A": "ü" * 2049}}}, "`environment.env.A`", "out_of_range", "file"),
        ({"model": "--dangerously"}, "`model`", "bad_model", "default"),
        ({"process": "40.1"}, "`process`", "bad_process", "quotes"),
        ({"process": 140.001}, "`process`", "wrong_type", "quotes"),
        ({"limits": {"wall_clock_s": 0.01}}, "`limits.wall_clock_s`", "out_of_range", "write a number that is"),
        ({"limits": {"wall_clock_s": 86_401}}, "`limits.wall_clock_s`", "out_of_range", "write a number that is"),
        (
            {"limits": {"output_bytes": 16 * 1024 * 1024 + 1}},
            "`limits.output_bytes`",
            "out_of_range",
            "write a number that is",
        ),
        ({"expect": [{}]}, "`expect[0]`", "not_exactly_one", "its own"),
        ({"expect": [{"file": "a", "contains": "b"}]}, "`expect[0]`", "not_exactly_one", "its own"),
        ({"expect": [{"file": "/etc/passwd"}]}, "`expect[0].file`", "bad_glob", "workspace"),
        ({"expect": [{"file": "a/../../b"}]}, "`expect[0].file`", "bad_glob", "below"),
        ({"expect": [{"command": "make test"}]}, "`expect[0].command`", "wrong_type", "list"),
        ({"expect": [{"command": []}]}, "`expect[0].command`", "out_of_range", "complete"),
        ({"expect": [{"command": [" "]}]}, "`expect[0].command[0]`", "bad_command", "program"),
        ({"expect": [{"delivered": "a b"}]}, "`expect[0].delivered`", "bad_target", "slack"),
        (
            {"notify": [{"slack": "https://hooks.slack.com/x"}]},
            "`notify[0].slack`",
            "secret_in_document",
            "secrets",
        ),
        ({"notify": [{"slack": "a", "command": ["b"]}]}, "`notify[0]`", "not_exactly_one", "its own"),
        ({"effects": ["push:repo:main"]}, "`effects[0]`", "bad_effect", "claude/"),
        ({"effects": ["push:repo:claude/../main"]}, "`effects[0]`", "bad_effect", "claude/"),
        ({"effects": ["push:claude/x"]}, "`effects[0]`", "bad_effect", "push:REPO"),
        ({"effects": ["message:"]}, "`effects[0]`", "bad_effect", "message:NAME"),
        ({"effects": ["shell:rm"]}, "`effects[0]`", "bad_effect", "message:NAME"),
        ({"effects": ["file:../x"]}, "`effects[0]`", "bad_glob", "below"),
        ({"sandbox": "off"}, "`sandbox`", "unknown_choice", "write 'required' or 'none'"),
        ({"catch_up": "window"}, "`catch_up_window_s`", "window_mismatch", "both"),
        ({"catch_up_window_s": 60}, "`catch_up_window_s`", "window_mismatch", "both"),
        ({"stagger_s": 3601}, "`stagger_s`", "out_of_range", "write a number that is"),
        ({"report_to_hq": "step"}, "`report_to_hq`", "unknown_choice", "'steps'"),
        ({"description": "x"}, "`description`", "unknown_key", "keys here are"),
    ],
)
def test_a_bad_field_is_refused_by_its_name(fields: dict[str, Any], field: str, code: str, hint: str) -> None:
    refusal = refusal_of(**fields)
    assert refusal.code == code
    assert field in refusal.sentence
    assert hint in refusal.hint


def test_a_required_key_without_a_value_is_not_told_to_be_left_out() -> None:
    assert refusal_of(name=None).hint == "give it a value"
    assert refusal_of(triggers=[{"type": "once", "at": None}]).hint == "give it a value"


@pytest.mark.parametrize("address", ["https://someone:hunter2@h/o/n", "https://hunter2@h/o/n"])
def test_a_refused_address_is_not_repeated_with_its_credentials(address: str) -> None:
    assert "hunter2" not in str(refusal_of(repositories=[address]))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/home/me/my repo", "my-repo"),
        ("/srv/git/tool.git", "tool"),
        ("/", "repository"),
        ("https://example.org/owner/Name.git", "Name"),
        ("https://example.org:8443/owner/name/", "name"),
        ("ssh://git@example.org:22/~me/name", "name"),
        ("git@example.org:owner/name.git", "name"),
        ("git@example.org:name", "name"),
        ("https://[::1]:8443/o/.hidden", "hidden"),
    ],
)
def test_a_repository_may_be_one_text_and_gets_its_folder_name(url: str, name: str) -> None:
    assert admitted(routine(repositories=[url]))["repositories"] == [
        {"url": url, "name": name, "branch": None}
    ]


def test_not_said_and_none_are_two_things_for_repositories() -> None:
    assert admitted(routine())["repositories"] is None
    assert admitted(routine(repositories=[]))["repositories"] == []


@pytest.mark.parametrize(
    "effect",
    [
        "message:slack",
        "push:*:claude/*",
        "push:tool:claude/fix-1",
        "pull_request:tool",
        "comment:*",
        "file:*.md",
    ],
)
def test_every_form_of_effect_is_admitted(effect: str) -> None:
    assert admitted(routine(effects=[effect]))["effects"] == [effect]


def test_the_shorthand_is_the_first_trigger_and_is_never_there_twice() -> None:
    own = {"type": "schedule", "cron": "0 9 * * *"}
    kept = admitted(
        routine(
            cron_expression="0 9 * * *",
            timezone="Europe/Berlin",
            triggers=[{"type": "once", "at": "2026-12-01T09:00", "timezone": "Asia/Tokyo"}, own],
        )
    )
    assert kept["cron_expression"] == "0 9 * * *"
    assert kept["triggers"] == [
        {"type": "schedule", "cron": "0 9 * * *", "timezone": "Europe/Berlin"},
        {"type": "once", "at": "2026-12-01T09:00", "timezone": "Asia/Tokyo"},
    ]


def test_the_shorthand_counts_as_one_of_the_twenty_triggers() -> None:
    triggers = [{"type": "schedule", "cron": f"{minute} 9 * * *"} for minute in range(20)]
    assert len(admitted(routine(triggers=triggers))["triggers"]) == 20
    assert "`triggers`" in refusal_of(triggers=triggers, cron_expression="0 8 * * *").sentence


SLUGS = st.from_regex(r"[a-z0-9]{1,6}(-[a-z0-9]{1,4})?", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
ZONES = st.sampled_from([None, "Europe/Berlin", "UTC"])
CRONS = st.sampled_from(["0 9 * * *", "*/5 * * * *", "daily", "not checked here"])
TRIGGERS = st.fixed_dictionaries(
    {"type": st.just("schedule"), "cron": CRONS}, optional={"timezone": ZONES}
) | st.fixed_dictionaries({"type": st.just("once"), "at": TEXTS}, optional={"timezone": ZONES})
REPOSITORIES = st.lists(
    st.sampled_from(["/a", "/b/c d", "https://example.org/o/e.git", "git@example.org:o/f"]), unique=True
)
ROUTINES = st.fixed_dictionaries(
    {"name": SLUGS, "content": TEXTS.filter(str.strip)},
    optional={
        "minion_id": st.uuids().map(str) | st.uuids().map(lambda uuid: str(uuid).upper()),
        "pipeline": st.lists(SLUGS, max_size=3),
        "cron_expression": st.none() | CRONS,
        "timezone": ZONES,
        "triggers": st.lists(TRIGGERS, max_size=4),
        "repositories": st.none() | REPOSITORIES,
        "environment": st.fixed_dictionaries({}, optional={"env": st.just({"A_1": "ü"})}),
        "limits": st.fixed_dictionaries(
            {}, optional={"dollars": st.integers(0, 9) | st.floats(0, 9), "turns": st.integers(1, 99)}
        ),
        "expect": st.lists(
            st.sampled_from([{"delivered": "slack"}, {"file": "**/*.md"}, {"command": ["make", "test"]}]),
            max_size=3,
        ),
        "notify": st.lists(st.sampled_from([{"slack": "alerts"}, {"command": ["true"]}]), max_size=2),
        "effects": st.none() | st.lists(st.sampled_from(["message:slack", "push:*:claude/*"]), max_size=2),
        "paused": st.booleans(),
        "stagger_s": st.integers(0, 3600),
    },
)


@given(ROUTINES)
def test_admitting_what_was_kept_changes_nothing(data: dict[str, Any]) -> None:
    kept = admitted(admit(Routine, data, source="r.yaml"))
    body = json.dumps(kept).encode()
    assert admitted(admit(Routine, load_document(body, source="r.json"), source="r.json")) == kept


GOOD_BRANCHES = "main a/b v1.0 dependabot/npm_and_yarn/@types/node-1.2 fix#12 a+b a.b/c-d x@y a- refs/heads/a"
BAD_BRANCHES = "a. a/ a//b a/.b .a /a a.lock a.lock/b a..b a~1 a^ a:b a? a* a[b a\\b @ @{u} a@{b HEAD -a a/-b"


def admits_branch(branch: str) -> bool:
    try:
        routine(repositories=[{"url": "/a", "branch": branch}])
    except BadDocument:
        return False
    return True


@pytest.mark.skipif(shutil.which("git") is None, reason="asks git itself")
def test_git_accepts_every_branch_that_is_accepted_here(tmp_path: Path) -> None:
    accepted = [branch for branch in (*GOOD_BRANCHES.split(), *BAD_BRANCHES.split()) if admits_branch(branch)]
    assert accepted == GOOD_BRANCHES.split()
    for branch in accepted:
        subprocess.run(["git", "check-ref-format", "--branch", branch], check=True, cwd=tmp_path)


@pytest.mark.parametrize("branch", ["", "a b", "a\x7f", "a\n", "a" * 201])
def test_a_branch_with_odd_signs_or_length_is_refused(branch: str) -> None:
    assert not admits_branch(branch)
