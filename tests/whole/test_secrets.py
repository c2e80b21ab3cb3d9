"""Canary secrets in a home: where they must never show, while a run is under way and for ever after."""

from __future__ import annotations

import asyncio
import base64
import secrets
import sqlite3
import subprocess
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from tests.process_watch import watching_processes
from tests.whole.homes import (
    at_work,
    clean_environment,
    command_line,
    make_home,
    performed,
    results_in,
    run_cli,
    run_of,
    run_once,
    write_routine,
    write_secrets,
    write_skill,
)
from tests.whole.webhooks import Webhook, webhook

pytestmark = pytest.mark.heavy

# Tells everything it can find out, and every disguise of what the test lets it know.
LEAKY = """
import base64
known = task['input']
raw = known.encode()
forms = [known, known[::-1], raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode()]
forms += [base64.urlsafe_b64encode(b'x' * n + raw + b'tail').decode() for n in (1, 2)]
forms += ['%' + '%'.join(f'{b:02x}' for b in raw) + known]
told = ' | '.join(forms)
sys.stderr.write(told)
with open('note.md', 'w') as file:
    file.write(told)
"""
SAYS = LEAKY + "answer(text=told, data={'told': forms, known: 1}, effects=[{'kind': 'message', 'target': known}])"
FAILS = LEAKY + "print(told); sys.exit(4)"
POSTS = LEAKY + "answer(text=told, effects=[{'kind': 'message', 'target': 'slack', 'body': 'x', 'title': told}])"
LOOKS = """
import glob
with open(task['input'], 'w') as file:
    file.write(json.dumps(dict(os.environ)))
    for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):
        try:
            file.write(open(path, 'rb').read().decode('utf-8', 'replace'))
        except OSError:
            pass
"""


CUTS = "known, script = task['input'].split(' ', 1); exec(script)"
SCRIPTS = {"says": SAYS, "fails": FAILS, "posts": POSTS, "looks": LOOKS, "cuts": CUTS}


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    """The webhook of this file's tests; `/echo` answers with what it was sent."""
    with webhook() as served:
        yield served


@pytest.fixture(scope="module")
def canary() -> str:
    """A secret that no other text resembles; its letters differ in every encoding."""
    return f"canary-{secrets.token_urlsafe(18)}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, hook: Webhook, canary: str) -> Home:
    """A home whose webhook's address and token are the canary."""
    home = make_home(tmp_path_factory.mktemp("secrets"))
    for name, script in SCRIPTS.items():
        write_skill(home, name, script)
        write_routine(home, name, name, effects=["message:slack"], environment={"env": {"PLAIN": "value"}})
    write_secrets(home, {"slack_webhook": hook.url(f"/echo?key={canary}"), "token": canary})
    return home


def disguises(canary: str) -> list[bytes]:
    """The secret as it is, reversed, in hex, percent-encoded, and the middle of its base64."""
    raw = canary.encode()
    middles = [base64.b64encode(b"x" * lead + raw)[4 : 4 + 24] for lead in range(3)]
    urlsafe = [base64.urlsafe_b64encode(b"x" * lead + raw)[4 : 4 + 24] for lead in range(3)]
    plain = [raw, raw[::-1], raw.hex().encode(), raw.hex().upper().encode()]
    return [*plain, urllib.parse.quote(canary, safe="").encode(), *middles, *urlsafe]


def leaks(home: Home, canary: str) -> list[str]:
    """The files of the home that hold the canary in any disguise; not its own, nor what the script wrote."""
    own = (home.secrets_file.name, "note.md")
    files = (path for path in home.root.rglob("*") if path.is_file() and path.name not in own)
    forms = disguises(canary)
    return [str(path.relative_to(home.root)) for path in files if any(form in path.read_bytes() for form in forms)]


async def perform_and_search(home: Home, name: str, canary: str) -> tuple[dict[str, Any], list[str]]:
    """One run, and the leaks while its store is still open, its write-ahead log with it."""
    async with at_work(home) as minion:
        run_id = await run_once(minion, name, given=canary)
        assert (home.root / "minion.db-wal").stat().st_size > 0
        return run_of(home, run_id), leaks(home, canary)


@pytest.mark.promise("ENV-2")
@pytest.mark.parametrize("name", ["says", "fails", "posts"])
def test_a_secret_that_a_script_tells_in_any_disguise_is_kept_nowhere(
    home: Home, canary: str, hook: Webhook, name: str
) -> None:
    hook.requests.clear()
    run, found = asyncio.run(perform_and_search(home, name, canary))
    assert found == []
    assert leaks(home, canary) == []
    with sqlite3.connect(f"{home.store.as_uri()}?mode=ro", uri=True) as db:
        dump = "\n".join(db.iterdump()).encode()
    db.close()
    assert [form for form in disguises(canary) if form in dump] == []
    # The test would not notice a script that told nothing.
    told = results_in(home, run)[0]["text"] + (run["why"] or "")
    assert told.count("[redacted]") >= 6
    assert run["state"] == ("failed" if name == "fails" else "completed")


@pytest.mark.promise("ENV-2")
@pytest.mark.parametrize(
    "script",
    [
        "sys.stderr.write(known + 'x' * (600 - len(known) // 2)); sys.exit(5)",
        "print('a ' * 70 + known)",
        "answer(data={'summary': 'a ' * 70 + known})",
        "answer(effects=[{'kind': 'message', 'target': 'slack', 'body': 'b' * 170}])",
        "answer(effects=[{'kind': 'file', 'target': 'x' * 80 + known}])",
    ],
)
def test_a_secret_is_taken_out_before_a_text_is_cut_short(home: Home, canary: str, script: str) -> None:
    performed(home, "cuts", given=f"{canary} {script}")
    secret = canary.removeprefix("canary-").encode()
    halves = (secret[:10], secret[-10:])
    own = (home.secrets_file.name, "note.md")
    files = [path for path in home.root.rglob("*") if path.is_file() and path.name not in own]
    assert [str(path) for path in files for half in halves if half in path.read_bytes()] == []


@pytest.mark.promise("ENV-2")
def test_a_secret_in_the_name_of_a_file_does_not_show_in_a_check(home: Home, canary: str) -> None:
    write_routine(home, "names", "cuts", expect=[{"file": "*.md"}])
    run = performed(home, "names", given=f"{canary} open('../workspace/' + known + '.md', 'w').close()")
    assert [(check["state"], check["detail"]) for check in run["checks"]] == [("passed", "[redacted].md")]
    assert leaks(home, canary) == []


@pytest.mark.promise("ENV-2")
@pytest.mark.promise("SKL-3")
def test_a_webhook_that_answers_with_the_secret_teaches_nobody(home: Home, canary: str, hook: Webhook) -> None:
    hook.requests.clear()
    run = performed(home, "posts", given=canary)
    (effect,) = run["effects"]
    assert [path for path, _ in hook.requests] == [f"/echo?key={canary}"]
    assert (effect["state"], run["delivery_target"]) == ("failed", "slack webhook")
    assert effect["detail"].endswith("/echo?key=[redacted]")
    shown = run_cli(home, "show", run["id"], "-v").out + run_cli(home, "show", run["id"], "--json").out
    assert [form for form in disguises(canary) if form in shown.encode()] == []


@pytest.mark.promise("ENV-2")
def test_no_process_of_a_run_has_a_secret_in_its_arguments_or_environment(
    home: Home, canary: str, tmp_path: Path
) -> None:
    found = tmp_path / "found"
    with watching_processes({canary.encode(): "canary"}) as seen:
        ended = run_cli(home, "run", "looks", "--json", "--input", str(found))
    assert (seen, ended.code) == ({}, 0)
    # What the skill itself could see, of its own environment and of every process around it.
    assert "PLAIN" in found.read_text()
    assert [form for form in disguises(canary) if form in found.read_bytes()] == []


def test_the_watch_sees_a_secret_in_the_arguments_of_a_process(home: Home, canary: str) -> None:
    with watching_processes({canary.encode(): "canary"}) as seen:
        run_cli(home, "run", "looks", "--input", canary)
    assert seen


@pytest.mark.promise("ENV-2")
@pytest.mark.parametrize(
    "content",
    ["{{\"slack_webhook\": \"https://x/{0}\"", "[\"{0}\"]", "{{\"token\": [\"{0}\"]}}", "{0}", "{{\"{0}\": 7}}"],
)
def test_a_secrets_file_that_cannot_be_read_is_refused_without_quoting_it(
    tmp_path: Path, canary: str, content: str
) -> None:
    home = make_home(tmp_path)
    write_secrets(home, {})
    home.secrets_file.write_text(content.format(canary))
    ended = run_cli(home, "run", "looks")
    assert (ended.code, ended.out) == (2, "")
    assert str(home.secrets_file) in ended.err
    assert canary not in ended.err
    assert leaks(home, canary) == []


@pytest.mark.promise("ENV-2")
def test_a_secret_too_short_to_be_kept_out_of_logs_is_refused_by_name(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_secrets(home, {"pin": "1234"})
    ended = run_cli(home, "run", "looks")
    assert (ended.code, "The secret 'pin'" in ended.err, "1234" in ended.err) == (2, True, False)


@pytest.mark.promise("ENV-2")
def test_what_a_run_prints_to_the_terminal_holds_no_secret(home: Home, canary: str) -> None:
    argv = command_line(home, "run", "says", "--input", canary)
    ended = subprocess.run(
        argv, env=clean_environment(home), cwd=home.root.parent, capture_output=True, check=False, timeout=60
    )
    assert ended.returncode == 1
    said: Iterable[bytes] = (ended.stdout, ended.stderr)
    assert [form for form in disguises(canary) for text in said if form in text] == []
    assert b"[redacted]" in ended.stdout
