"""The files of a new skill that works as it is: instructions for a model, and a script for the `script` engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

DESCRIPTION: Final = "Say in one sentence what it does. Use it when … (say when)."

_INSTRUCTIONS: Final = """\
---
name: {name}
description: {description}
---

# {name}

## With the script

`scripts/run.py` reads one JSON document on stdin and prints one on stdout. Exit status 0 is the only success; what
it writes to stderr is told as the reason of a failure. Use the standard library only.

What it is given:

- `routine` (name, content, pipeline), `input` (text of whoever started the run, may be null)
- `now` and `since`: instants; `since` is the last delivery
- `repositories`: a list of `name`, `path` (a clone to work in) and `history` (a git folder to read)
- `results`: what the earlier skills of the pipeline came to: `skill`, `state`, `text`, `data`

What it prints: `{{"text": Markdown, "data": an object, "effects": what it asks the runner to do outside}}`.

## Without the script

Write here what a model is to do, step by step.
"""
_SCRIPT: Final = '''\
"""Entry of the skill: reads the task from stdin and prints what it found as JSON."""

import json
import sys


def main() -> int:
    """Exit status 0 with the result on stdout; anything else fails the skill."""
    task = json.load(sys.stdin)
    lines = [f"# {task['skill']}", "", f"Looked at everything since {task['since']}.", ""]
    lines += [f"- repository {repository['name']}" for repository in task["repositories"]]
    lines += [f"- {result['skill']}: {result['state']}" for result in task["results"]]
    found = {"repositories": len(task["repositories"]), "results": len(task["results"])}
    json.dump({"text": "\\n".join(lines) + "\\n", "data": found}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
'''


def skeleton(name: str, description: str) -> Mapping[str, bytes]:
    """The files of a new skill. Neither text is checked here: admission does that with all of it."""
    # JSON's texts are YAML's: whatever stands in the description, it stays one text.
    said = json.dumps(description, ensure_ascii=False)
    header = _INSTRUCTIONS.format(name=name, description=said)
    return {
        "SKILL.md": header.encode("utf-8", "surrogateescape"),
        "scripts/run.py": _SCRIPT.encode(),
    }
