"""Entry of the skill: reads the task from stdin and each repository's history, prints the digest as JSON."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The skill's folder is pinned by a digest, and `python -I` leaves the script's own folder off the path.
sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from git_history import HistoryUnreadable, Period  # noqa: E402
from tally import Share, Tally  # noqa: E402
from task import Task, TaskRefused, instant, print_result, read_task  # noqa: E402
from week import Findings, commits_before, look_into  # noqa: E402
from week_page import Frame, title, write_page  # noqa: E402
from wording import DAY_S, Clock  # noqa: E402

# A last digest within these bounds began the week; an hour or a month ago it did not.
SHORTEST_S, LONGEST_S = 5 * DAY_S, 15 * DAY_S
WEEK_S = 7 * DAY_S
LISTED = 200


def main() -> int:
    """Exit status: 0 with the result on stdout; 1 a history cannot be read; 2 the task cannot."""
    try:
        task = read_task(sys.stdin.buffer.read())
        clock = Clock(task.now, task.zone, task.zone_name)
        frame = Frame(clock, Period(begin(task), task.now))
        found = [
            look_into(item["name"], item["history"], item.get("branch"), frame.period, clock)
            for item in task.repositories
        ]
    except TaskRefused as refusal:
        print(refusal, file=sys.stderr)
        return 2
    except HistoryUnreadable as failure:
        print(failure, file=sys.stderr)
        return 1
    print_result({"text": write_page(found, frame), "data": _data(found, frame)})
    return 0


def begin(task: Task) -> int:
    """The first second of the week: the last delivered digest, if 5 to 15 days ago, else 7 days ago."""
    if task.since is not None and SHORTEST_S <= task.now - task.since <= LONGEST_S:
        return task.since
    return max(0, task.now - WEEK_S)


def _data(found: Sequence[Findings], frame: Frame) -> dict[str, Any]:
    said = title(found)
    known = [item.before for item in found if item.before is not None]
    return {
        "summary": f"wrote up {said[:1].lower() + said[1:]}",
        "since": instant(frame.period.first),
        "until": instant(frame.period.end),
        "commits": sum(item.week.total.commits for item in found),
        "commits_before": sum(item.total.commits for item in known) if len(known) == len(found) else None,
        "repositories": [_repository(item) for item in found],
    }


def _repository(found: Findings) -> dict[str, Any]:
    return {
        "name": found.name,
        "branch": found.branch,
        "has_commits": found.tip,
        "week": _numbers(found.week),
        "before": None if found.before is None else _numbers(found.before),
        "authors": [_share(share) for share in found.week.ranked_authors()[:LISTED]],
        "new_authors": None if found.new_authors is None else list(found.new_authors[:LISTED]),
        "areas": [
            _share(share) | {"commits_before": commits_before(found, share)}
            for share in found.week.ranked_areas()[:LISTED]
        ],
        "files": [
            {"path": item.name, "added": item.added, "removed": item.removed, "authors": item.authors[:20]}
            for item in found.files[:LISTED]
        ],
        "tags": [{"name": tag.name, "at": instant(tag.at)} for tag in found.tags[:LISTED]],
        "commits_by_day": {day.isoformat(): number for day, number in sorted(found.days.items())[:LISTED]},
        "night_or_weekend": found.odd_hours,
        "branches": [
            {
                "name": item.name,
                "owner": item.owner,
                "commits": len(item.commits),
                "first_commit_at": instant(item.first),
                "last_commit_at": instant(item.last),
            }
            for item in found.branches[:LISTED]
        ],
    }


def _numbers(counted: Tally) -> dict[str, int]:
    total = counted.total
    return {
        "commits": total.commits,
        "merges": counted.merges,
        "authors": len(counted.authors),
        "files": len(total.files),
        "added": total.added,
        "removed": total.removed,
    }


def _share(share: Share) -> dict[str, Any]:
    return {
        "name": share.name,
        "commits": share.commits,
        "files": len(share.files),
        "added": share.added,
        "removed": share.removed,
    }


if __name__ == "__main__":
    sys.exit(main())
