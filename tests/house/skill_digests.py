"""Writes and checks `skills/digests.json`: the digest of each bundled skill's folder, by its name.

`python -m tests.house.skill_digests` checks and names each skill that differs; `--write` pins what is there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from server.contract.digest import digest_tree

SKILLS = Path(__file__).resolve().parents[2] / "skills"
PINS = "digests.json"


def files_of(folder: Path) -> dict[str, bytes]:
    """The regular files below `folder` by relative POSIX path; what Python compiled is none of a skill."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and path.suffix != ".pyc"
        and "__pycache__" not in path.relative_to(folder).parts
    }


def digests_of(skills: Path) -> dict[str, str]:
    """`sha256:` digests of all skills, which are the folders of `skills` with a SKILL.md."""
    folders = sorted(path.parent for path in skills.glob("*/SKILL.md"))
    return {folder.name: digest_tree(files_of(folder)) for folder in folders}


def differences(skills: Path) -> list[str]:
    """One sentence for each skill whose folder is not the one that is pinned."""
    pins = skills / PINS
    pinned = json.loads(pins.read_text("utf-8")) if pins.is_file() else {}
    found = digests_of(skills)
    sentences = []
    for name in sorted(set(pinned) | set(found)):
        if name not in found:
            sentences.append(f"{name} is pinned and there is no such skill.")
        elif name not in pinned:
            sentences.append(f"{name} is not pinned.")
        elif pinned[name] != found[name]:
            sentences.append(f"{name} differs from its pin: {found[name]} instead of {pinned[name]}.")
    return sentences


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when all pins hold or were written, 1 when one does not."""
    parser = argparse.ArgumentParser(prog="python -m tests.house.skill_digests", description=__doc__)
    parser.add_argument("--write", action="store_true", help="pin the skills as they are now")
    parser.add_argument("--skills", type=Path, default=SKILLS, help="the folder of the skills")
    asked = parser.parse_args(arguments)
    if asked.write:
        text = json.dumps(digests_of(asked.skills), indent=2, sort_keys=True) + "\n"
        (asked.skills / PINS).write_text(text, "utf-8")
    found = differences(asked.skills)
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
