"""`minion setup` with flags: what it keeps, what it leaves alone, what it refuses before anything is written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

from minion.app import initialise
from minion.config import Home, held, load_config
from minion.engines.registry import API_KEY, ENGINES, INSTALLED, engine_named
from minion.setup.trials import performed
from server.contract.refusals import BadDocument, Refused, TrialFailed
from tests.skills.repositories import Repository
from tests.waiting import wait_until
from tests.whole.homes import make_home, write_secrets
from tests.whole.refusals_said import Place, say
from tests.whole.sittings import contents, copied, set_up
from tests.whole.webhooks import closed_port

pytestmark = pytest.mark.heavy

CLOSED: Final = f"https://127.0.0.1:{closed_port()}/shop.git"
REPORTS: Final = ("--reports", "slack", "--slack-webhook-file")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository without a commit: there is something to read all the same."""
    return Repository(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home that was set up once, by flags alone."""
    home = Home(tmp_path_factory.mktemp("first") / "home")
    assert set_up(home, "--yes", "--name", "desk", "--timezone", "Asia/Tokyo").code == 0
    return home


@pytest.fixture
def home(first: Home, tmp_path: Path) -> Home:
    """A home that was set up before: desk, in Tokyo, nothing else."""
    return copied(first, tmp_path)


def config_of(home: Home) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(home.config_file.read_bytes())
    return data


def routine_of(home: Home) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((home.routines / "morning-report.json").read_bytes())
    return data


@pytest.mark.promise("CLI-6")
def test_every_answer_can_be_a_flag_and_is_kept(tmp_path: Path, shop: Repository) -> None:
    home = Home(tmp_path / "fresh")
    other = Repository(tmp_path, "api")
    (other.folder / "src").mkdir()
    flags = ["--name", "desk", "--timezone", "Asia/Tokyo", "--repo", str(shop.folder), "--reports", "outbox"]
    flags += ["--repo", str(other.folder / "src"), "--engine", "script", "--alerts", "command"]
    ended = set_up(home, *flags, "--alert-arg", "true", "--alert-arg", "$HOME; a b", "--json")
    assert (ended.code, ended.err) == (0, "")
    repositories = [str(shop.folder), str(other.folder)]
    said, config = ended.json(), config_of(home)
    program, argument = config["notify"][0]["command"]
    assert (Path(program).is_absolute(), Path(program).name, argument) == (True, "true", "$HOME; a b")
    assert {name: said[name] for name in said if name != "next"} == {
        "home": str(home.root), "minion_id": config["minion_id"], "name": "desk", "timezone": "Asia/Tokyo",
        "repositories": repositories, "reports": "outbox", "engine": "script",
        "pays": "nobody: it runs on this machine", "alerts": "command", "notify": config["notify"],
        "dollars_per_day": 5.0, "dollars_per_month": 50.0,
        "tested": {"repositories": repositories, "message": None, "alert": {"exit_code": 0}},
        "changed": ["name", "timezone", "repositories", "reports", "engine", "alerts", "routine"],
    }  # fmt: skip
    assert [line.split(" ", 3)[3] for line in said["next"][:4]] == [
        "run morning-report", "schedule resume morning-report", "up", "doctor"
    ]  # fmt: skip
    assert (config["name"], config["timezone"], config["repositories"]) == ("desk", "Asia/Tokyo", repositories)
    assert (routine_of(home)["repositories"], routine_of(home)["paused"]) == (repositories, True)
    assert home.config_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.promise("CLI-6")
def test_without_flags_a_fresh_home_has_the_machine_s_answers_and_the_checkout_around(
    tmp_path: Path, shop: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    home = Home(tmp_path / "fresh")
    ended = set_up(home, cwd=shop.folder)
    assert (ended.code, ended.err) == (0, "")
    for words in (
        "Europe/Berlin", f"{shop.folder} (✓ passed: git reads it)", f"{home.outbox}/ROUTINE",
        "nobody: it runs on this machine", "nobody is told when a routine fails", "run morning-report", "doctor",
    ):  # fmt: skip
        assert words in ended.out
    assert config_of(home)["repositories"] == routine_of(home)["repositories"] == [str(shop.folder)]


@pytest.mark.promise("CLI-6")
def test_setting_up_again_changes_only_what_is_answered_differently(home: Home) -> None:
    write_secrets(home, {"token": "a secret of another kind"})
    before = contents(home)
    same = set_up(home, "--name", "desk", "--timezone", "Asia/Tokyo", "--repo", "none", "--json")
    assert (same.code, same.json()["changed"], contents(home)) == (0, [], before)
    assert "stays as it was" in set_up(home).out
    assert contents(home) == before
    ended = set_up(home, "--timezone", "Europe/Lisbon", "--json")
    assert (ended.code, ended.json()["changed"]) == (0, ["timezone"])
    after = contents(home)
    assert {name for name in before if before[name] != after[name]} == {"minion.json"}
    assert config_of(home) == json.loads(before["minion.json"]) | {"timezone": "Europe/Lisbon"}


@pytest.mark.promise("CLI-6")
def test_what_was_written_by_hand_since_stays(home: Home) -> None:
    by_hand = {"keep_runs": 7, "notify": [{"slack": "team"}, {"command": ["true"]}], "engine": "messages"}
    home.config_file.write_text(json.dumps(config_of(home) | by_hand))
    ended = set_up(home, "--name", "other", "--json")
    assert (ended.code, ended.json()["changed"], ended.json()["alerts"]) == (0, ["name"], "several")
    assert config_of(home).items() >= (by_hand | {"name": "other"}).items()


@pytest.mark.promise("CLI-6")
def test_repositories_are_those_of_the_first_routine_until_somebody_changes_it(
    home: Home, shop: Repository, tmp_path: Path
) -> None:
    ended = set_up(home, "--repo", str(shop.folder), "--json")
    assert (ended.json()["changed"], routine_of(home)["repositories"]) == (["repositories"], [str(shop.folder)])
    mine = routine_of(home) | {"content": "My own words"}
    (home.routines / "morning-report.json").write_text(json.dumps(mine))
    other = Repository(tmp_path, "api")
    assert set_up(home, "--repo", str(other.folder)).code == 0
    assert (config_of(home)["repositories"], routine_of(home)) == ([str(other.folder)], mine)


def test_a_home_that_init_made_keeps_its_repository(home: Home, shop: Repository) -> None:
    by_init = routine_of(home) | {"repositories": [str(shop.folder)]}
    (home.routines / "morning-report.json").write_text(json.dumps(by_init))
    ended = set_up(home, "--name", "other", "--json").json()
    assert (ended["repositories"], ended["changed"]) == ([str(shop.folder)], ["name"])
    assert (routine_of(home), config_of(home)["repositories"]) == (by_init, [])


@pytest.mark.promise("CLI-6")
@pytest.mark.parametrize(
    ("flags", "refusal", "code", "sentence", "hint"),
    [
        (["--name", "Two Words"], "bad_name", 2, "'Two Words' is no name", "small letters"),
        (["--timezone", "berlin"], "unknown_zone", 2, "'berlin' is no IANA", "did you mean Europe/Berlin?"),
        (["--timezone", "Europe/Lisbn"], "unknown_zone", 2, "is no IANA time zone", "Europe/Lisbon"),
        (["--timezone", ""], "unknown_zone", 2, "'' is no IANA time zone", "such as Europe/Berlin"),
        (["--repo", "/nowhere"], "no_repository", 2, "/nowhere is in no git checkout", "name a folder"),
        (["--repo", ""], "no_repository", 2, "address is empty", "none"),
        (["--repo", "a \udcff"], "not_utf_8", 2, "not UTF-8", "UTF-8"),
        (["--repo", "BROKEN"], "repository_unreachable", 3, "git cannot read ", "git ls-remote"),
        (["--repo", CLOSED], "repository_unreachable", 3, "git cannot read https://127", "ls-remote"),
        (["--repo", "https://me@host/x.git"], "credentials_in_document", 2, "must not carry a name", "credential"),
        (["--reports", "email"], None, 2, "'email' is not one of", "setup --help"),
        (["--reports", "slack"], "no_webhook", 2, "the address of an incoming webhook", "-file FILE"),
        ([*REPORTS, "/nowhere"], "no_webhook_file", 2, "cannot be read", "- for stdin"),
        (["--slack-webhook-file", "-"], "webhook_unused", 2, "neither reports nor alerts", "--reports slack"),
        (["--engine", "messages"], "engine_missing", 3, "lacks the secret anthropic_api_key", "secret set"),
        (["--engine", "claude-code"], "engine_missing", 3, "is not in this version", "script or messages"),
        (["--engine", "gpt"], "engine_missing", 3, "The engine 'gpt' is none that there is", "choose script"),
        (["--dollars-per-day", "much"], "bad_dollars", 2, "'much' is no number of US dollars", "none for no cap"),
        (["--dollars-per-month", "-1"], "bad_dollars", 2, "'-1' is no number of US dollars", "such as 5"),
        (["--alerts", "command"], "no_command", 2, "need one", "--alert-arg PROGRAM"),
        (["--alert-arg", "no-such-program"], "no_such_program", 2, "There is no program", "whole path"),
        (["--alert-arg", " "], "bad_command", 2, "is blank", "by itself"),
        (["--alert-arg=x"] * 65, "bad_command", 2, "1 to 64 words", "by itself"),
        (["--alerts", "none", "--alert-arg", "true"], "bad_command", 2, "does not go with", "--alerts command"),
        (["--alert-arg", "false"], "alert_failed", 1, "ended with exit code 1", "by hand"),
    ],
)
def test_a_wrong_answer_is_refused_before_anything_is_written(
    tmp_path: Path, home: Home, flags: list[str], refusal: str | None, code: int, sentence: str, hint: str
) -> None:
    (tmp_path / "broken" / ".git").mkdir(parents=True)
    said = [str(tmp_path / "broken") if word == "BROKEN" else word for word in flags]
    before = contents(home)
    for place in (Home(tmp_path / "fresh"), home):
        ended = set_up(place, "--name", "another", *said)
        assert (ended.code, ended.refusal, ended.out) == (code, refusal, "")
        first, second = ended.err.splitlines()
        assert (first.startswith("minion: "), sentence in first) == (True, True)
        assert (second.startswith("hint: "), hint in second) == (True, True)
    assert (contents(home), (tmp_path / "fresh").exists()) == (before, False)


def test_an_alert_command_gets_one_document_on_its_stdin(home: Home, tmp_path: Path) -> None:
    words = ["--alert-arg", "cp", "--alert-arg", "/dev/stdin", "--alert-arg", str(tmp_path / "heard")]
    ended = set_up(home, *words, "--json")
    assert (ended.code, ended.json()["tested"]["alert"]) == (0, {"exit_code": 0})
    heard = json.loads((tmp_path / "heard").read_bytes())
    assert heard == {"v": 1, "kind": "test", "minion": "desk", "text": "A test alert of minion-hq."}
    (tmp_path / "heard").unlink()
    again = set_up(home, *words)
    assert "; sent by the daemon: " in again.out
    assert (again.code, (tmp_path / "heard").exists()) == (0, False)
    assert set_up(home, "--test-message").code == 0
    assert (tmp_path / "heard").exists()
    assert set_up(home, "--alerts", "none", "--json").json()["changed"] == ["alerts"]
    assert config_of(home)["notify"] == []


def test_an_alert_command_that_does_not_end_is_ended_with_all_it_started(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "open")
    # Whoever has the pipe open is still there: the shell that waits, and the child that it waits for.
    script = f"exec 3<>{tmp_path}/open; sleep 1000 & wait"
    with pytest.raises(TrialFailed) as caught:
        performed(["/bin/sh", "-c", script], {}, seconds=0.2)
    assert (caught.value.code, caught.value.exit_code) == ("alert_failed", 1)
    assert "did not end within 0.2 seconds" in caught.value.sentence
    reading = os.open(tmp_path / "open", os.O_RDONLY | os.O_NONBLOCK)

    def nobody_is_left() -> bool:
        try:
            return os.read(reading, 1) == b""
        except BlockingIOError:  # somebody could still write
            return False

    try:
        assert wait_until(nobody_is_left, 10)
    finally:
        os.close(reading)


def test_a_home_s_file_never_becomes_too_large_to_be_read(home: Home) -> None:
    words = [f"--alert-arg={'x' * 4000}" for _ in range(20)]
    before = contents(home)
    ended = set_up(home, "--alert-arg", "true", *words, "--no-test-message")
    assert (ended.code, ended.refusal, contents(home)) == (3, "config_large", before)


@pytest.mark.promise("STO-4")
def test_a_home_in_use_is_refused_before_anything_is_asked(home: Home) -> None:
    before = contents(home)
    with held(home, "minion run long"):
        ended = set_up(home, "--name", "other")
    assert (ended.code, ended.refusal, contents(home)) == (3, "home_held", before)
    assert "in use by `minion run long`" in ended.err


def test_a_place_that_cannot_hold_a_home_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ended = set_up(Home(tmp_path / "file" / "home"), "--alert-arg", "false")
    assert (ended.code, ended.refusal) == (3, "home_unwritable")
    with pytest.raises(Refused) as caught, held(Home(tmp_path / "file" / "home"), "minion init"):
        pass
    assert ended.err.splitlines()[0] == f"minion: {caught.value.sentence}"


def test_a_set_up_that_was_cut_off_is_mended_by_the_next(tmp_path: Path, shop: Repository) -> None:
    home = Home(tmp_path / "fresh")
    begun = initialise(home, name="desk", timezone="Asia/Tokyo")
    ended = set_up(home, "--repo", str(shop.folder), "--json").json()
    assert (ended["minion_id"], ended["name"], ended["changed"]) == (
        begun.minion_id,
        "desk",
        ["repositories", "routine"],
    )
    assert routine_of(home)["repositories"] == [str(shop.folder)]
    (home.routines / "morning-report.json").unlink()
    assert set_up(home, "--json").json()["changed"] == []


def test_the_engines_are_data_and_those_with_a_module_are_here() -> None:
    assert [(entry.name, entry.module is not None) for entry in ENGINES] == [
        ("script", True), ("messages", True), ("claude-code", False)
    ]  # fmt: skip
    assert all(entry.what and entry.pays for entry in ENGINES)
    assert [type(engine_named(name)).__name__ for name in INSTALLED] == ["ScriptEngine", "MessagesEngine"]
    with pytest.raises(KeyError):
        engine_named("claude-code")


@pytest.mark.promise("CLI-6")
def test_an_engine_that_costs_is_set_up_with_its_key_beforehand_and_its_caps(home: Home) -> None:
    write_secrets(home, {API_KEY: "sk-ant-of-a-test"})
    caps = ("--dollars-per-day", "2.5", "--dollars-per-month", "none")
    ended = set_up(home, "--engine", "messages", *caps, "--json")
    assert (ended.code, ended.json()["changed"]) == (0, ["engine", "dollars_per_day", "dollars_per_month"])
    said = config_of(home)
    assert (said["engine"], said["dollars_per_day"], said["dollars_per_month"]) == ("messages", 2.5, None)
    told = set_up(home).out
    assert "who pays      your API key, billed per token; at most $2.5 a day\n" in told
    assert set_up(home, "--engine", "auto", "--json").json()["pays"] == "said of each routine when it is saved"
    home.secrets_file.unlink()
    # What is not answered otherwise is not asked about: it may be somebody's hand, as before.
    assert set_up(home, "--name", "other", "--json").json()["changed"] == ["name"]


def test_the_remedy_for_a_missing_key_is_one_that_a_fresh_home_can_follow(tmp_path: Path) -> None:
    ended = set_up(Home(tmp_path / "fresh"), "--engine", "messages")
    steps = ended.err.splitlines()[1].removeprefix("hint: ").split(", then ")
    assert [" ".join(step.split()[-3:]) for step in steps] == [
        "it up without", "secret set anthropic_api_key", "setup --engine messages"
    ]  # fmt: skip


@pytest.mark.promise("DOC-2")
@pytest.mark.parametrize(
    "notify",
    [{}, "slack", [1], [{}], [{"slack": "a", "command": ["b"]}], [{"slack": "https://hooks"}], [{"slack": 1}],
     [{"command": "x"}], [{"command": []}], [{"command": [" "]}], [{"command": [1]}], [{"mail": "me"}],
     [{"command": ["x"] * 65}], [{"slack": "a"}] * 21],
)  # fmt: skip
def test_alerts_that_no_routine_could_have_are_refused_in_minion_json(tmp_path: Path, notify: Any) -> None:
    home = make_home(tmp_path)
    good = config_of(home)
    home.config_file.write_text(json.dumps(good | {"notify": [{"slack": "slack_webhook"}, {"command": ["x"]}]}))
    assert load_config(home).notify == ({"slack": "slack_webhook"}, {"command": ["x"]})
    home.config_file.write_text(json.dumps(good | {"notify": notify}))
    with pytest.raises(BadDocument, match="`notify`") as caught:
        load_config(home)
    assert caught.value.code == "bad_config"


@pytest.mark.heavy
@pytest.mark.promise("CLI-6")
def test_a_new_home_is_told_that_its_schedule_is_paused_and_offered_only_what_can_work(
    tmp_path: Path, shop: Repository
) -> None:
    outside, inside = Home(tmp_path / "outside"), Home(tmp_path / "inside")
    told = set_up(outside, "--name", "desk", "--timezone", "UTC").out
    assert "run morning-report --repo PATH\n" in told
    assert "morning-report is paused until you start it: " in told
    assert "schedule resume morning-report\n" in told
    offered = set_up(inside, "--repo", str(shop.folder), "--json").json()["next"]
    assert [line.partition(f"{inside.root} ")[2] for line in offered[:2]] == [
        "run morning-report", "schedule resume morning-report"
    ]  # fmt: skip
    file = inside.routines / "morning-report.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"paused": False}))
    again = set_up(inside).out
    assert ("paused" in again, "schedule resume" in again) == (False, False)


@pytest.mark.heavy
def test_what_init_offers_outside_a_checkout_asks_for_a_repository(tmp_path: Path) -> None:
    told = say(Place(tmp_path), "init --name desk").out
    assert "run morning-report --repo PATH" in told
    assert "schedule resume morning-report" in told


@pytest.mark.parametrize("commas", ["{0},{1}", "{0},", "https://example.org/a.git,https://example.org/b.git"])
def test_repositories_with_commas_between_them_are_refused_with_how_to_part_them(
    home: Home, shop: Repository, commas: str
) -> None:
    ended = set_up(home, "--repo", commas.format(shop.folder, home.root))
    assert (ended.code, ended.refusal) == (2, "comma_list")
    assert "hint: put blanks between several repositories, no commas" in ended.err


def test_a_folder_with_a_comma_in_its_name_is_a_repository_as_any_other(home: Home, tmp_path: Path) -> None:
    odd = Repository(tmp_path, "a,b")
    assert set_up(home, "--repo", str(odd.folder), "--json").json()["repositories"] == [str(odd.folder)]
