"""Entry of the skill: picks the newest result, turns it into a Slack message and stages that message."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The skill's folder is pinned by a digest, and `python -I` leaves the script's own folder off the path.
sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from mrkdwn import to_mrkdwn  # noqa: E402

PROTOCOL = 1


class NothingToSend(Exception):
    """There is no text to send, or no readable task; the message is one sentence."""


def main() -> int:
    """Exit status: 0 with one message staged, 1 with nothing to send, 2 when the task is unreadable."""
    try:
        document = json.loads(sys.stdin.buffer.read())
        if not isinstance(document, dict) or document.get("v") != PROTOCOL:
            raise ValueError
    except (ValueError, RecursionError):
        print(f"The task on stdin is not a JSON object of version {PROTOCOL}.", file=sys.stderr)
        return 2
    try:
        source, text = chosen(document)
        body, left_out = to_mrkdwn(text)
        if not body.strip():
            raise NothingToSend(f"The text of {source} has nothing in it that can be shown.")
    except NothingToSend as refusal:
        print(refusal, file=sys.stderr)
        return 1
    shortened = f", shortened by {left_out:,} characters" if left_out else ""
    result = {
        "text": f"Staged 1 message for slack: {len(body):,} characters from {source}{shortened}.",
        "data": {"source": source, "characters": len(body), "left_out": left_out},
        "effects": [{"kind": "message", "target": "slack", "body": body}],
    }
    sys.stdout.buffer.write(json.dumps(result, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    return 0


def chosen(document: Mapping[str, Any]) -> tuple[str, str]:
    """What to send and where it comes from: the newest completed result, else the input, else the content.

    Raises `NothingToSend` when none of them has text.
    """
    results = document.get("results")
    for result in reversed(results if isinstance(results, list) else []):
        if isinstance(result, dict) and result.get("state") == "completed" and _text(result.get("text")):
            return str(result.get("skill", "an earlier skill")), result["text"]
    if _text(document.get("input")):
        return "the input", document["input"]
    routine = document.get("routine")
    if isinstance(routine, dict) and _text(routine.get("content")):
        return "the routine's content", routine["content"]
    raise NothingToSend("There is nothing to send: no completed result, no input and no content has text.")


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


if __name__ == "__main__":
    sys.exit(main())
