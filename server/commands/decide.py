"""`hq decide`: a person is shown what waits for one, whole, and answers it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from server.commands.context import home_of, login_name, print_json, say

if TYPE_CHECKING:
    from datetime import datetime

_SAID: Final = {"approve": "Approved", "reject": "Rejected", "changes": "Sent back"}
_ASKED: Final = {"approve": "Approve?", "reject": "Reject?", "changes": "Send it back?"}
_BROKEN_OFF: Final = 130
# Text of others stands behind this on each of its lines, so that it cannot pass for a line of ours.
_BAR: Final = "│ "


@click.command("decide")
@click.argument("decision", metavar="DECISION")
@click.argument("answer", metavar="approve|reject|changes", required=False,
                type=click.Choice(("approve", "reject", "changes")))  # fmt: skip
@click.option("-m", "--message", "why", metavar="TEXT", help="Your reason; it is kept with the answer.")
@click.option("--why", "reason", metavar="TEXT", hidden=True, help="The same, as it was called before.")
@click.option("--link", is_flag=True, help="Answer on HQ's page: print a link that signs you in, once.")
@click.option("--yes", is_flag=True, help="Do not ask again: needed where there is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as one JSON document.")
@click.pass_context
def command(
    ctx: click.Context, decision: str, answer: str | None, why: str | None, reason: str | None, link: bool,
    yes: bool, as_json: bool,
) -> None:  # fmt: skip
    """Answer what waits for a person: approve, reject, or send back.

    DECISION is an id, or the beginning of one; `hq inbox` shows those that are open. `changes` sends a proposal
    back: -m says what should be otherwise, and whoever proposes anew is told. You are shown what is
    asked, with its evidence, and asked whether you are sure. The answer is one to exactly what you were shown: if
    it was changed meanwhile, it is refused. It is given once, and your login name is kept with it.

    \b
    Examples:
      hq decide dec_01A2B3C4 approve
      hq decide dec_01A2B3C4 reject -m "The mail connector already does this."
      hq decide dec_01A2B3C4 changes -m "Without the second host."
      hq decide dec_01A2B3C4 --link
      hq decide dec_01A2B3C4 approve --yes --json
    """
    from server.actions.decide import digest_of_shown, seen
    from server.asking import ask
    from server.clock import utc_now
    from server.commands.inbox import print_link
    from server.domain.decision import ANSWERS, may_answer
    from server.storage.reading import read_once

    home, now = home_of(ctx), utc_now()
    said = read_once(home.store, lambda connection: seen(connection, decision, now=now))
    if link:
        print_link(home, as_json=as_json, decision=said["id"])
        return
    if answer is None:
        raise click.UsageError(f"Say your answer: {', '.join(ANSWERS)}.", ctx)
    digest, why = digest_of_shown(said), reason if why is None else why
    for line in _shown(said, digest, now):
        say(line)
    # Nobody is asked for an answer that cannot be given any more.
    may_answer(
        said["id"], said["kind"], said["state"], answer=answer, why=why, asked=said["digest"], shown=digest,
        kept=digest,
    )  # fmt: skip
    if not yes:
        _make_sure(said["id"], answer)
    params = {"decision": said["id"], "answer": answer, "digest": digest, "why": why}
    done = ask(home, "hq decide", "decide", params, who=login_name())
    if as_json:
        print_json(done)
        return
    click.echo(f"{_SAID[answer]}{_then(said, done)} ({done['decision']}).")


def _then(said: dict[str, Any], done: dict[str, Any]) -> str:
    """What became of what was decided upon."""
    if said["kind"] == "hold":
        return f": {said['evidence']['minion']} is told with its next call"
    return f": {said['kind']} {done['subject']} is {done['subject_state']}" if done["subject_state"] else ""


def _make_sure(decision: str, answer: str) -> None:
    """Ask the person whether they are sure; who is not ends the command. Raises `Refused` where nobody is."""
    from server.contract.refusals import Refused

    if not sys.stdin.isatty():
        says = f"Nobody is here to be asked about {decision}."
        raise Refused("not_agreed", says, hint=f"read it, then: hq decide {decision} {answer} --yes")
    if not _agreed(_ASKED[answer]):
        say("Nothing was decided.")
        raise click.exceptions.Exit(_BROKEN_OFF)


def _agreed(question: str) -> bool:
    """Whether the person says yes; who breaks off does not."""
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort:
        say("")
        return False


def _shown(said: dict[str, Any], digest: str, now: datetime) -> list[str]:
    """A decision as its reader sees it: all that the answer is bound to, and nothing that acts on the screen."""
    from server.commands.decisions import answered, local_time
    from server.domain.legible import ago, one_line

    asked = f"asked {ago(said['asked_at'], now)} ({local_time(said['asked_at'])}) by {said['asked_by']}"
    lines = [f"{click.style(said['id'], bold=True)}  {said['kind']}, {asked}"]
    lines += [*_barred(said["question"], "  "), ""]
    lines += [line for name in ("changes", "permissions") for line in _listed(name, said[name])]
    lines.append(f"about      {one_line(said['subject'], 200)}")
    lines += ["evidence", *_laid_out(said["evidence"], "  ")]
    lines.append(f"digest     {digest}")
    if said["state"] != "open":
        lines.append(f"state      {answered(said)}")
        lines += _barred(said["why"], "  ") if said.get("why") else []
        there = said.get("carried_words")
        lines += [f"there      {one_line(there, 400)}"] if there else []
    elif said["expires_at"]:
        lines.append(f"until      {local_time(said['expires_at'])}")
    return [*lines, ""]


def _listed(name: str, words: list[str]) -> list[str]:
    """What follows from a yes, one thing a line."""
    from server.domain.legible import one_line

    label = {"changes": "changes", "permissions": "permits"}[name]
    return [f"{label if number == 0 else '':<10} {one_line(each, 400)}" for number, each in enumerate(words)]


def _laid_out(value: Any, indent: str, depth: int = 0) -> list[str]:
    import json

    from server.domain.legible import DEEPEST, one_line, parts_of

    parts = parts_of(value) if depth < DEEPEST else None
    if parts is None:
        return _barred(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), indent)
    lines = []
    for name, part in parts:
        below = _laid_out(part, indent + "  ", depth + 1)
        lines += [f"{indent}{one_line(name, 80)}", *below]
    return lines


def _barred(text: str, indent: str) -> list[str]:
    from server.domain.legible import harmless

    return [f"{indent}{click.style(_BAR, dim=True)}{line}" for line in harmless(text).split("\n")]
