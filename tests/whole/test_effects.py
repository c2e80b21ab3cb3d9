"""Messages and the rules for all effects: staged by a skill, allowed by the routine, performed by the runner."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from server.contract.run import EXIT_CODES
from tests.whole.homes import (
    events_of,
    make_home,
    performed,
    results_in,
    run_cli,
    write_routine,
    write_secrets,
    write_skill,
)
from tests.whole.webhooks import Webhook, closed_port, webhook

TARGETS = ("slack", "other", "created", "gone", "broken", "refused", "drop", "moved", "plain", "odd")


def stage(*effects: dict[str, Any], text: str = "staged") -> str:
    """The input that has the skill `act` stage these effects."""
    return f"answer(text={text!r}, effects={list(effects)!r})"


def message(target: str, body: str = "It is done.") -> dict[str, Any]:
    """A message for a target."""
    return {"kind": "message", "target": target, "body": body}


def told(run: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(target, state, detail) of a run's effects in order."""
    return [(effect["target"], effect["state"], effect["detail"]) for effect in run["effects"]]


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    """The webhook of this file's tests."""
    with webhook() as served:
        yield served


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, hook: Webhook) -> Home:
    """A home whose routine `post` may send messages to every target of the webhook, and to `letter` as a file."""
    home = make_home(tmp_path_factory.mktemp("effects"))
    write_skill(home, "act", "exec(task['input'])")
    allowed = [f"message:{target}" for target in (*TARGETS, "letter")]
    write_routine(home, "post", "act", effects=allowed)
    write_routine(home, "since", "act", effects=["message:slack", "message:gone"])
    urls = {"slack": "/ok?key=1", "refused": "", "plain": "", "odd": ""}
    secrets = {f"{target}_webhook": hook.url(urls.get(target, f"/{target}")) for target in TARGETS}
    secrets["refused_webhook"] = f"http://127.0.0.1:{closed_port()}/services"
    secrets["plain_webhook"] = "http://hooks.example.org/services/T0/B0"
    secrets["odd_webhook"] = "https://user:password@127.0.0.1/services"
    write_secrets(home, secrets)
    return home


@pytest.mark.promise("SKL-3")
@pytest.mark.promise("RUN-11")
@pytest.mark.parametrize(
    ("target", "state", "verdict", "detail"),
    [
        ("slack", "delivered", "ok", "HTTP 200 ok"),
        ("other", "accepted", "unchecked", "HTTP 200"),
        ("created", "accepted", "unchecked", "HTTP 201"),
        ("gone", "failed", "not-delivered", "HTTP 404 no_service"),
        ("broken", "failed", "not-delivered", "HTTP 500 internal error"),
        ("moved", "failed", "not-delivered", "HTTP 302"),
        ("refused", "failed", "not-delivered", "no connection: Connection refused"),
        ("drop", "unknown", "unknown", "no answer: RemoteDisconnected"),
    ],
)
def test_the_verdict_says_what_the_webhook_answered(
    home: Home, hook: Webhook, target: str, state: str, verdict: str, detail: str
) -> None:
    hook.requests.clear()
    run = performed(home, "post", given=stage(message(target, f"Hello *{target}* ✓")))
    assert [(effect["state"], effect["target"]) for effect in run["effects"]] == [(state, target)]
    assert run["effects"][0]["detail"].startswith(detail)
    assert (run["delivery"], run["verdict"], run["outcome"]) == (state, verdict, "success")
    assert run["delivery_target"] == f"{target} webhook"
    # Sent at most once, whatever was answered, and a redirect is not followed.
    assert [body for _, body in hook.requests] == [{"text": f"Hello *{target}* ✓"}] * (target != "refused")


@pytest.mark.promise("CLI-3")
@pytest.mark.parametrize(("target", "code"), [("slack", 0), ("gone", 1), ("drop", 4)])
def test_the_exit_code_follows_the_delivery(home: Home, target: str, code: int) -> None:
    ended = run_cli(home, "run", "post", "--input", stage(message(target)))
    assert ended.code == code
    assert code in EXIT_CODES.values()


@pytest.mark.parametrize("target", ["plain", "odd"])
def test_a_webhook_that_is_not_https_is_never_called_unless_it_is_on_loopback(home: Home, target: str) -> None:
    run = performed(home, "post", given=stage(message(target)))
    (effect,) = run["effects"]
    assert effect["state"] == "failed"
    assert effect["detail"].endswith("URL is not https (http only on loopback)")
    assert run["verdict"] == "not-delivered"


@pytest.mark.promise("SKL-3")
@pytest.mark.promise("RUN-11")
def test_without_a_webhook_a_message_becomes_a_file_that_the_run_names(home: Home) -> None:
    ended = run_cli(home, "run", "post", "--json", "--input", stage(message("letter", "Dear team,\n\nhello.\n")))
    run = ended.json()
    file = home.outbox / "post" / f"{run['id']}-01-letter.md"
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("Dear team,\n\nhello.\n", 0o600)
    assert (ended.code, run["delivery"], run["verdict"]) == (0, "accepted", "unchecked")
    assert run["delivery_target"] == str(file)
    assert told(run) == [("letter", "accepted", "no webhook for letter: kept as a file")]


def test_secrets_that_others_can_read_are_refused_with_the_remedy(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "say", "print('x')")
    write_routine(home, "say", "say")
    write_secrets(home, {"slack_webhook": "https://hooks.example.org/services/secret"}, mode=0o644)
    ended = run_cli(home, "run", "say")
    assert (ended.code, ended.out) == (3, "")
    assert f"{home.secrets_file} can be read by other users." in ended.err
    assert f"hint: chmod 600 {home.secrets_file}" in ended.err
    assert run_cli(home, "runs", "--json").json() == []


@pytest.mark.promise("ENV-4")
def test_an_effect_off_the_routines_list_is_refused_and_the_delivery_failed(home: Home, hook: Webhook) -> None:
    hook.requests.clear()
    effects = [
        message("elsewhere"),
        {"kind": "file", "target": "report.md", "body": "x"},
        {"kind": "push", "target": "shop:main", "body": "x"},
        message("slack"),
    ]
    run = performed(home, "post", given=stage(*effects))
    assert told(run) == [
        ("elsewhere", "refused", "message:elsewhere is not on the routine's list of effects"),
        ("report.md", "refused", "file:report.md is not on the routine's list of effects"),
        ("shop:main", "refused", "push:shop:main is not on the routine's list of effects"),
        ("slack", "delivered", "HTTP 200 ok"),
    ]
    assert len(hook.requests) == 1
    assert (run["delivery"], run["verdict"]) == ("failed", "not-delivered")
    assert [intent["id"] for intent in events_of(home, run, "effect.intent")] == [run["effects"][3]["id"]]


def test_more_than_twenty_effects_and_oversized_or_empty_ones_are_refused(home: Home, hook: Webhook) -> None:
    hook.requests.clear()
    bodies = ["x" * 40_000, "x" * 40_001, "ü" * 20_001, " \n", *(f"number {n}" for n in range(5, 22))]
    run = performed(home, "post", given=f"answer(effects={[message('slack', body) for body in bodies]!r})")
    states = [effect["state"] for effect in run["effects"]]
    assert states == ["delivered", "refused", "refused", "refused", *["delivered"] * 16, "refused"]
    details = [effect["detail"] for effect in run["effects"] if effect["state"] == "refused"]
    too_large = "its body is over 40000 bytes"
    assert details == [too_large, too_large, "it has no text", "a run may stage 20 effects"]
    assert [len(text) for text in hook.texts("/ok")][:1] == [40_000]
    assert len(hook.requests) == 17


@pytest.mark.promise("ENV-4")
def test_the_intent_is_kept_before_the_effect_and_its_result_after_it(home: Home) -> None:
    order: list[str] = []
    run = performed(home, "post", given=stage(message("slack")), on_event=lambda _, e: order.append(e.type))
    kinds = [type_ for type_ in order if type_.startswith("effect.")]
    assert kinds == ["effect.staged", "effect.intent", "effect.result"]
    (effect,) = run["effects"]
    assert effect["staged_at"] <= effect["intended_at"] <= effect["settled_at"]
    (staged,) = events_of(home, run, "effect.staged")
    assert "It is done." not in json.dumps(staged)
    assert (staged["bytes"], len(staged["key"])) == (11, 64)


def test_the_effects_of_a_failed_skill_are_never_performed(home: Home, hook: Webhook) -> None:
    hook.requests.clear()
    run = performed(home, "post", given=stage(message("slack")) + "; sys.exit(1)")
    assert (run["effects"], hook.requests, run["verdict"]) == ([], [], "failed")


def test_a_delivered_report_moves_since_and_a_failed_one_does_not(home: Home) -> None:
    say = "answer(text=task['since'] + ' ' + task['now'], effects=[{}])"

    def since(target: str) -> tuple[str, str, dict[str, Any]]:
        run = performed(home, "since", given=say.format(message(target)))
        seen, now = results_in(home, run)[0]["text"].split()
        return seen, now, run

    first, now, delivered = since("slack")
    week = run_cli(home, "routine", "show", "since", "--json").json()
    assert (first[10:13], first < now, week["last_delivered_at"]) == (now[10:13], True, delivered["started_at"])
    second, _, failed = since("gone")
    assert (second, failed["delivery"]) == (delivered["started_at"], "failed")
    third, _, again = since("slack")
    assert (third, again["delivery"]) == (delivered["started_at"], "delivered")
    assert since("slack")[0] == again["started_at"] > third
