"""`minion setup` and Slack's webhook: where the secret may come from, the test message, what becomes of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from minion.runner.webhook import webhook_of
from minion.secrets_file import forget_secret, keep_secret, read_secrets
from server.contract.refusals import Refusal
from tests.whole.homes import clean_environment, command_line, make_home, write_secrets
from tests.whole.sittings import contents, leaks, set_up
from tests.whole.terminals import at_terminal
from tests.whole.webhooks import Webhook, closed_port, webhook

CANARY = "canary-Zt4wq9LmX2vB7kPd"
REPORTS = ("--reports", "slack", "--slack-webhook-file")


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    """Slack's place in these tests."""
    with webhook() as served:
        yield served


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home as it is after `minion init`, with a secret of another kind."""
    home = make_home(tmp_path)
    (home.routines / "other.yaml").write_text("name: other\ncontent: x\n")
    write_secrets(home, {"github.com_token": "another secret"})
    return home


@pytest.fixture
def file(tmp_path: Path, hook: Webhook) -> Path:
    """A file with the webhook that Slack confirms; its address holds the canary."""
    hook.requests.clear()
    return holding(tmp_path, hook.url(f"/ok?key={CANARY}"))


def holding(folder: Path, address: str) -> Path:
    path = folder / "webhook"
    path.write_text(address + "\n")
    return path


def webhook_now(home: Home) -> str | None:
    """Where a run would post what it has for `slack`."""
    return webhook_of("slack", read_secrets(home.secrets_file))


def notify_of(home: Home) -> Any:
    return json.loads(home.config_file.read_bytes())["notify"]


@pytest.mark.promise("CLI-7")
@pytest.mark.promise("ENV-2")
def test_a_webhook_from_a_file_is_tried_and_kept_where_only_its_owner_reads_it(
    home: Home, hook: Webhook, file: Path
) -> None:
    ended = set_up(home, *REPORTS, str(file), "--alerts", "slack")
    assert (ended.code, ended.err) == (0, "")
    assert "slack (✓ delivered: 127.0.0.1 answered HTTP 200 ok)" in ended.out
    report, alert = hook.texts("/ok")
    assert ("reports of the minion tester" in report, "when a routine fails" in alert) == (True, True)
    assert read_secrets(home.secrets_file) == {
        "github.com_token": "another secret",
        "slack_webhook": file.read_text().strip(),
    }
    assert home.secrets_file.stat().st_mode & 0o777 == 0o600
    assert notify_of(home) == [{"slack": "slack_webhook"}]
    assert (leaks(home, CANARY), CANARY in ended.out) == ([], False)


@pytest.mark.promise("CLI-6")
@pytest.mark.promise("CLI-7")
def test_a_webhook_from_stdin_is_asked_for_once(home: Home, hook: Webhook, file: Path) -> None:
    ended = set_up(home, *REPORTS, "-", "--json", stdin=file.read_bytes())
    assert (ended.code, ended.json()["reports"], ended.json()["changed"]) == (0, "slack", ["reports"])
    assert ended.json()["tested"]["message"] == {
        "host": "127.0.0.1", "state": "delivered", "answer": "HTTP 200 ok", "arrived": True
    }  # fmt: skip
    before = contents(home)
    hook.requests.clear()
    for flags in ([], ["--reports", "slack"], [*REPORTS, str(file)]):
        assert set_up(home, *flags, "--json").json()["changed"] == []
    assert (contents(home), hook.requests) == (before, [])
    assert set_up(home, "--test-message").code == 0
    assert (contents(home), len(hook.requests)) == (before, 1)


@pytest.mark.promise("CLI-7")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--slack-webhook", "URL"],
        ["--slack-webhook=URL"],
        ["--slack-webhook", "anything-at-all"],
        ["--slack-webhook"],
        ["--slack-webhook-file", "URL"],
        ["--slack-webhook-file=URL"],
        ["--slackwebhook", "URL"],
        ["--slackwebhook=URL"],
        ["URL"],
        ["--reports", "URL"],
        ["--reports", "hooks.slack.com/services/T0/B0/x"],
        ["--timezone", "URL"],
        ["--name", "URL", "--help"],
        ["--repo", "https://hooks.slack.com/services/T0CANARY/B0/CANARY"],
        ["--repo", "https://me:CANARY-password@example.org/shop.git"],
        ["--alert-arg", "curl", "--alert-arg", "https://hooks.slack.com/services/T0CANARY/B0/CANARY"],
    ],
)
def test_a_secret_in_argv_is_refused_and_not_repeated(
    home: Home, hook: Webhook, file: Path, arguments: list[str]
) -> None:
    before = contents(home)
    url = file.read_text().strip()
    said = [word.replace("URL", url).replace("CANARY", CANARY) for word in arguments]
    ended = set_up(home, "--no-test-message", "--name", "changed", *said)
    assert (ended.code, ended.refusal, ended.out) == (2, "secret_in_argv", "")
    assert (contents(home), hook.requests) == (before, [])
    assert ended.err.startswith("minion: A secret was given as an argument")
    assert ("hint: " in ended.err, "--slack-webhook-file FILE" in ended.err) == (True, True)
    assert [word for word in (url, CANARY, "anything-at-all", "services") if word in ended.err] == []


@pytest.mark.promise("CLI-7")
def test_an_address_that_takes_no_secret_is_no_secret(home: Home) -> None:
    ended = set_up(home, "--alert-arg", "true", "--alert-arg", "https://ntfy.sh/team", "--alert-arg=x://y")
    assert (ended.code, notify_of(home)[0]["command"][1:]) == (0, ["https://ntfy.sh/team", "x://y"])


@pytest.mark.promise("CLI-7")
@pytest.mark.parametrize(
    "body",
    [b"", b"\n", b"http://example.org/CANARY", b"https://a b/CANARY", b"one\ntwo", b"https://u@h/CANARY",
     b"hooks.slack.com/services/CANARY", b"https://\xfc.example/CANARY", b"https://h/" + b"x" * 5000],
)  # fmt: skip
def test_what_is_no_webhook_is_refused_without_being_repeated(home: Home, body: bytes) -> None:
    before = contents(home)
    ended = set_up(home, *REPORTS, "-", stdin=body.replace(b"CANARY", CANARY.encode()))
    assert (ended.code, ended.refusal, contents(home)) == (2, "bad_webhook", before)
    assert "That is no address of a webhook" in ended.err
    assert CANARY not in ended.err


@pytest.mark.promise("CLI-7")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/gone", "did not take the test message: HTTP 404 no_service."),
        ("/broken", "did not take the test message: HTTP 500 internal error."),
        ("/moved", "did not take the test message: HTTP 302"),
        ("/drop", "It is not known whether the test message reached 127.0.0.1: no answer"),
        (f"/echo-{CANARY}", "did not take the test message: HTTP 404 A test message"),
        ("CLOSED", "no connection"),
        ("NO-HOST", "there is no such host"),
        pytest.param("HANGS", "no answer: TimeoutError", marks=pytest.mark.heavy),
    ],
)
def test_a_test_message_that_is_not_taken_changes_nothing(
    home: Home, hook: Webhook, path: str, words: str
) -> None:
    before = contents(home)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        odd = {
            "CLOSED": f"http://127.0.0.1:{closed_port()}/services/",
            "NO-HOST": "https://hooks..example/services/",
            "HANGS": f"http://127.0.0.1:{silent.getsockname()[1]}/services/",
        }
        address = f"{odd[path]}{CANARY}" if path in odd else hook.url(f"{path}?key={CANARY}")
        ended = set_up(home, "--name", "changed", *REPORTS, str(holding(home.root.parent, address)))
    assert (ended.code, ended.refusal, ended.out) == (1, "message_not_posted", "")
    assert contents(home) == before
    assert words in ended.err.splitlines()[0]
    assert "hint: see that the webhook is whole" in ended.err
    assert CANARY not in ended.err


@pytest.mark.promise("CLI-6")
def test_a_message_that_did_not_arrive_leaves_reports_in_the_outbox_and_keeps_all_else(
    home: Home, hook: Webhook, file: Path
) -> None:
    flags = ["--name", "other", "--alerts", "slack", *REPORTS, str(file)]
    ended = set_up(home, *flags, "--arrived", "no", "--json")
    assert (ended.code, ended.refusal) == (1, "not_arrived")
    assert (webhook_now(home), notify_of(home)) == (None, [])
    said = ended.json()
    assert (said["reports"], said["alerts"], said["changed"]) == ("outbox", "none", ["name"])
    assert said["tested"]["message"]["arrived"] is False
    assert "minion: The test message did not arrive: reports go to the outbox, all other answers" in ended.err
    assert "setup --reports slack --arrived yes, once you see it" in ended.err
    # Nobody has to look for the webhook again.
    again = set_up(home, "--reports", "slack", "--arrived", "yes")
    assert (again.code, webhook_now(home), len(hook.requests)) == (0, file.read_text().strip(), 2)
    assert len(read_secrets(home.secrets_file)) == 2
    assert leaks(home, CANARY) == []


def test_a_new_webhook_that_does_not_arrive_leaves_the_one_in_use(
    home: Home, hook: Webhook, file: Path, tmp_path: Path
) -> None:
    good = file.read_text().strip()
    assert set_up(home, *REPORTS, str(file)).code == 0
    ended = set_up(home, *REPORTS, str(holding(tmp_path, hook.url("/ok?other"))), "--arrived", "no")
    assert (ended.code, webhook_now(home)) == (1, good)
    assert "reports go to Slack as before" in ended.err
    # The one in use turns out not to arrive either.
    assert set_up(home, "--arrived", "no").code == 1
    assert (webhook_now(home), good in read_secrets(home.secrets_file).values()) == (None, True)


def test_what_was_merely_taken_needs_somebody_who_saw_it(
    home: Home, hook: Webhook, tmp_path: Path
) -> None:
    file = str(holding(tmp_path, hook.url("/created?x")))
    ended = set_up(home, *REPORTS, file)
    assert (ended.code, webhook_now(home)) == (1, None)
    assert "127.0.0.1 took the test message (HTTP 201), but nothing shows that it arrived" in ended.err
    assert set_up(home, *REPORTS, file, "--arrived", "yes").code == 0
    assert webhook_now(home) is not None


def test_nothing_is_posted_when_that_is_forbidden(
    home: Home, hook: Webhook, file: Path
) -> None:
    ended = set_up(home, *REPORTS, str(file), "--alerts", "slack", "--no-test-message", "--json")
    assert (ended.code, hook.requests, webhook_now(home) is not None) == (0, [], True)
    assert ended.json()["tested"] == {"repositories": [], "message": None, "alert": None}


@pytest.mark.promise("CLI-6")
def test_reports_go_back_to_the_outbox_and_alerts_still_find_their_webhook(
    home: Home, hook: Webhook, file: Path
) -> None:
    set_up(home, *REPORTS, str(file), "--alerts", "slack", "--no-test-message")
    back = set_up(home, "--reports", "outbox", "--json")
    assert (back.code, back.json()["alerts"], webhook_now(home)) == (0, "slack", None)
    (notice,) = notify_of(home)
    assert read_secrets(home.secrets_file)[notice["slack"]] == file.read_text().strip()
    forth = set_up(home, "--reports", "slack", "--no-test-message", "--json")
    assert (forth.code, webhook_now(home), notify_of(home)) == (
        0,
        file.read_text().strip(),
        [{"slack": "slack_webhook"}],
    )
    assert len(read_secrets(home.secrets_file)) == 2


def test_alerts_alone_may_go_to_slack(home: Home, hook: Webhook, file: Path) -> None:
    ended = set_up(home, "--alerts", "slack", "--slack-webhook-file", str(file), "--json")
    assert (ended.code, ended.json()["reports"], ended.json()["changed"]) == (0, "outbox", ["alerts"])
    assert (webhook_now(home), ended.json()["tested"]["alert"]["arrived"]) == (None, True)
    (notice,) = notify_of(home)
    assert read_secrets(home.secrets_file)[notice["slack"]] == file.read_text().strip()
    file.write_text(hook.url("/ok?another"))
    again = set_up(home, "--slack-webhook-file", str(file), "--json")
    assert (again.code, again.json()["changed"], notify_of(home)) == (0, ["alerts"], [notice])
    assert read_secrets(home.secrets_file)[notice["slack"]] == file.read_text()
    assert set_up(home, "--test-message", "--arrived", "no").refusal == "not_arrived"
    assert notify_of(home) == [notice]


@pytest.mark.promise("CLI-7")
@pytest.mark.promise("ENV-2")
def test_a_secrets_file_that_others_can_read_is_refused_and_left_as_it_is(
    home: Home, hook: Webhook, file: Path
) -> None:
    home.secrets_file.chmod(0o644)
    before = contents(home)
    ended = set_up(home, *REPORTS, str(file), "--name", "other")
    assert (ended.code, ended.refusal, contents(home), hook.requests) == (3, "secrets_mode", before, [])
    assert f"hint: chmod 600 {home.secrets_file}" in ended.err
    for change in (lambda: keep_secret(home.secrets_file, "a", "long enough"),
                   lambda: forget_secret(home.secrets_file, "github.com_token")):  # fmt: skip
        with pytest.raises(Refusal, match="can be read by other users"):
            change()
    assert contents(home) == before


def test_a_secret_is_kept_beside_the_others_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    keep_secret(path, "one", "first secret")
    keep_secret(path, "two", "zweites Geheimnis: ü")
    keep_secret(path, "one", "changed secret")
    assert read_secrets(path) == {"one": "changed secret", "two": "zweites Geheimnis: ü"}
    before = path.read_bytes()
    forget_secret(path, "three")
    assert (path.read_bytes(), [entry.name for entry in tmp_path.iterdir()]) == (before, ["secrets.json"])
    forget_secret(path, "one")
    assert (list(read_secrets(path)), path.stat().st_mode & 0o777) == (["two"], 0o600)


@pytest.mark.parametrize(("value", "code"), [("brief", "secrets_short"), ("x" * 66_000, "secrets_large")])
def test_a_secret_that_cannot_be_kept_leaves_the_file_as_it_is(tmp_path: Path, value: str, code: str) -> None:
    path = tmp_path / "secrets.json"
    keep_secret(path, "one", "first secret")
    before = path.read_bytes()
    with pytest.raises(Refusal) as caught:
        keep_secret(path, "two", value)
    assert (caught.value.code, value in caught.value.sentence, path.read_bytes()) == (code, False, before)


@pytest.mark.promise("CLI-7")
def test_the_webhook_is_asked_for_without_being_shown(home: Home, hook: Webhook, file: Path) -> None:
    flags = ("--name", "desk", "--timezone", "UTC", "--repo", "none", "--engine", "script")
    argv = command_line(home, "setup", *flags)
    with at_terminal(argv, env=clean_environment(home), cwd=home.root.parent) as terminal:
        terminal.type("where reports go", "slack")
        terminal.type("not shown as you type", hook.url(f"/gone?key={CANARY}"))
        terminal.wait_for("HTTP 404 no_service")
        terminal.type("where reports go", "slack")
        terminal.type("not shown as you type", file.read_text().strip())
        terminal.wait_for("127.0.0.1 answered: HTTP 200 ok")
        seen = Path(f"/proc/{terminal.process.pid}")
        assert CANARY.encode() not in (seen / "cmdline").read_bytes() + (seen / "environ").read_bytes()
        terminal.type("did it arrive? [yes]: ", "maybe")
        terminal.type("did it arrive? [yes]: ", "n")
        terminal.wait_for("which channel the webhook posts to")
        terminal.type("who is told when a routine fails", "")
        assert terminal.ended() == 1
    assert (CANARY in terminal.shown, leaks(home, CANARY), webhook_now(home)) == (False, [], None)
    assert file.read_text().strip() in read_secrets(home.secrets_file).values()
    assert json.loads(home.config_file.read_bytes())["name"] == "desk"
