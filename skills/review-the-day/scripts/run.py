"""Entry of the skill: reads the task from stdin and each repository's history, prints the review as JSON."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# The skill's folder is pinned by a digest, and `python -I` leaves the script's own folder off the path.
sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from branches import EVERY_BRANCH, Branches  # noqa: E402
from day import Findings, findings  # noqa: E402
from day_page import Frame, checklist, title, write_page  # noqa: E402
from git_history import HistoryUnreadable, Period  # noqa: E402
from marks import Patches  # noqa: E402
from plain_text import clean  # noqa: E402
from task import TaskRefused, instant, print_result, read_task  # noqa: E402
from wording import Clock  # noqa: E402

# Whoever reviews the day before this hour means the day that has just ended.
DAY_BEGINS_AT_HOUR = 4
MOST_COMMITS_SEARCHED = 5_000
LISTED = 200


def main() -> int:
    """Exit status: 0 with the result on stdout; 1 a history cannot be read; 2 the task cannot."""
    try:
        task = read_task(sys.stdin.buffer.read())
        clock = Clock(task.now, task.zone, task.zone_name)
        frame = Frame(clock, begin(clock))
        found = [look_into(repository, frame) for repository in task.repositories]
    except TaskRefused as refusal:
        print(refusal, file=sys.stderr)
        return 2
    except HistoryUnreadable as failure:
        print(failure, file=sys.stderr)
        return 1
    print_result({"text": write_page(found, frame), "data": _data(found, frame)})
    return 0


def begin(clock: Clock) -> int:
    """When the reviewed day began: midnight in the routine's zone, before 4:00 the one before."""
    local = clock.local(clock.now)
    return clock.midnight(1 if local is not None and local.hour < DAY_BEGINS_AT_HOUR else 0)


def look_into(repository: Mapping[str, Any], frame: Frame) -> Findings:
    """All that one repository's history says of the day. Raises `HistoryUnreadable`."""
    name, folder, now = repository["name"], repository["history"], frame.clock.now
    history = Branches(name, folder)
    branch, tip = history.branch_and_tip(repository.get("branch"))
    period = Period(frame.first, now)
    commits = list(history.everywhere(tip, period))
    marks: int | None = 0
    if len(commits) > MOST_COMMITS_SEARCHED:
        marks = None
    elif commits:
        revisions = [*EVERY_BRANCH, *([tip] if tip else [])]
        marks = Patches(name, folder).marks_added(tip, revisions, period).total()
    return findings(
        clean(name, 60),
        branch,
        tip is not None,
        commits,
        history.unmerged(tip, now) if commits else [],
        marks=marks,
        edge=history.shallow_edge(),
        newest=None if commits else history.newest(tip, now),
    )


def _data(found: Sequence[Findings], frame: Frame) -> dict[str, Any]:
    return {
        "summary": f"reviewed {title(found, frame)}",
        "since": instant(frame.first),
        "until": instant(frame.clock.now),
        "commits": sum(len(item.commits) for item in found),
        "merges": sum(item.merges for item in found),
        "repositories": [_repository(item) for item in found],
        "checklist": checklist(found)[:LISTED],
    }


def _repository(found: Findings) -> dict[str, Any]:
    added, removed = found.lines
    return {
        "name": found.name,
        "branch": found.branch,
        "commits": len(found.commits),
        "merges": found.merges,
        "authors": sorted(found.authors)[:LISTED],
        "files_count": len(found.files),
        "added": added,
        "removed": removed,
        "files": [
            {"path": item.name, "added": item.added, "removed": item.removed, "authors": item.authors[:20]}
            for item in found.files[:LISTED]
        ],
        "shared_files": [item.name for item in found.shared[:LISTED]],
        "unmerged": [
            {"name": item.name, "commits": len(item.commits), "today": found.of_day(item)}
            for item in found.touched[:LISTED]
        ],
        "unfinished": [commit.sha for commit in found.unfinished[:LISTED]],
        "code_files": found.code_files,
        "test_files": found.test_files,
        "code_commits": found.code_commits,
        "untested_commits": [item.commit.sha for item in found.untested[:LISTED]],
        "marks_added": found.marks,
    }


if __name__ == "__main__":
    sys.exit(main())
