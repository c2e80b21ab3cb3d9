"""Entry of the skill: reads the task from stdin and each repository's history, prints the standup as JSON."""

import re
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

# The skill's folder is pinned by a digest, and `python -I` leaves the script's own folder off the path.
sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from branches import EVERY_BRANCH, Branches, OpenBranch  # noqa: E402
from conflicts import conflicting  # noqa: E402
from git_history import HistoryUnreadable, Period  # noqa: E402
from marks import Patches  # noqa: E402
from people import Findings, Person, Work, gather, matching  # noqa: E402
from plain_text import clean  # noqa: E402
from standup_page import Frame, Standup, stale_elsewhere, title, write_page  # noqa: E402
from task import Task, TaskRefused, instant, print_result, read_task  # noqa: E402
from wording import DAY_S, Clock  # noqa: E402

ONLY = re.compile(r"\s*(?:only|just)\s*:?\s+([^\n]{1,80}?)\s*", re.IGNORECASE)
STALE_DAYS = 14
# A last standup longer ago than this was no standup, but a holiday, or there was none.
LONGEST_GAP_S = 6 * DAY_S
MOST_TRIALS = 20
MOST_COMMITS_SEARCHED = 5_000
LISTED = 200


def main() -> int:
    """Exit status: 0 with the result on stdout; 1 a history cannot be read; 2 the task cannot."""
    try:
        task = read_task(sys.stdin.buffer.read())
        clock = Clock(task.now, task.zone, task.zone_name)
        frame = Frame(clock, begin(task, clock), stale_days(task))
        found = [look_into(repository, frame) for repository in task.repositories]
    except TaskRefused as refusal:
        print(refusal, file=sys.stderr)
        return 2
    except HistoryUnreadable as failure:
        print(failure, file=sys.stderr)
        return 1
    people = gather(found, stale_before=clock.now - frame.stale_days * DAY_S)
    wanted = wanted_author(task)
    among = people if wanted is None else matching(people, wanted)
    standup = Standup(found, people, [person for person in among if person.active], wanted)
    print_result({"text": write_page(standup, frame), "data": _data(standup, frame)})
    return 0


def begin(task: Task, clock: Clock) -> int:
    """The first second told of: the last delivered standup, or the start of the last working day.

    The latter for the first standup, after a gap of more than six days, and for a second one on a day.
    """
    if task.since is not None and clock.now - LONGEST_GAP_S <= task.since < clock.midnight():
        return task.since
    back = 1
    while (clock.today() - timedelta(days=back)).weekday() >= 5:
        back += 1
    return clock.midnight(back)


def stale_days(task: Task) -> int:
    """Days without a commit that make a branch stale: the setting `stale`, else 14. Raises `TaskRefused`."""
    said = task.setting("stale")
    if said is None:
        return STALE_DAYS
    number = re.match(r"\d{1,4}\b", said)
    if number is None or int(number[0]) == 0:
        raise TaskRefused(f"The setting stale is {said[:40]!r}; write a number of days, such as `stale: 14`.")
    return int(number[0])


def wanted_author(task: Task) -> str | None:
    """The one name to tell of: an input `only Ann`, or the setting `only`."""
    whole = ONLY.fullmatch(task.input)
    said = whole[1] if whole else task.setting("only")
    return clean(said, 60).strip("`'\"*. ") or None if said else None


def look_into(repository: Mapping[str, Any], frame: Frame) -> Findings:
    """All that one repository's history says. Raises `HistoryUnreadable`."""
    name, folder, now = repository["name"], repository["history"], frame.clock.now
    history = Branches(name, folder)
    branch, tip = history.branch_and_tip(repository.get("branch"))
    period = Period(frame.first, now)
    commits = list(history.everywhere(tip, period))
    branches = history.unmerged(tip, now)
    fresh = [item.tip for item in branches if item.last >= now - frame.stale_days * DAY_S]
    marks = None
    if len(commits) <= MOST_COMMITS_SEARCHED:
        revisions = [*EVERY_BRANCH, *([tip] if tip else [])]
        marks = Patches(name, folder).marks_added(tip, revisions, period) if commits else {}
    return Findings(
        name=clean(name, 60),
        branch=branch,
        tip=tip is not None,
        commits=commits,
        branches=branches,
        conflicts=conflicting(name, folder, tip, fresh[:MOST_TRIALS]) if tip else {},
        marks=marks,
        newest=None if commits else history.newest(tip, now),
    )


def _data(standup: Standup, frame: Frame) -> dict[str, Any]:
    said = title(standup)
    return {
        "summary": said[:1].lower() + said[1:],
        "since": instant(frame.first),
        "until": instant(frame.clock.now),
        "commits": standup.commits,
        "people_count": len(standup.told),
        "only": standup.wanted,
        "people": [_person(person) for person in standup.told[:LISTED]],
        "stale_elsewhere": [_work(work) for work in stale_elsewhere(standup)[:LISTED]],
        "conflicts_known": all(found.conflicts is not None for found in standup.found),
        "marks_known": all(found.marks is not None for found in standup.found),
    }


def _person(person: Person) -> dict[str, Any]:
    return {
        "name": person.name,
        "commits": len(person.done),
        "merges": person.merges,
        "added": person.added,
        "removed": person.removed,
        "in_progress": [_work(work) for work in person.work[:LISTED]],
        "stale": [_work(work) for work in person.stale[:LISTED]],
        "reverted": [reverted.subject for reverted in person.reverted[:LISTED]],
        "marks_added": person.marks,
    }


def _work(work: Work) -> dict[str, Any]:
    branch: OpenBranch = work.branch
    return {
        "repository": work.repository,
        "branch": branch.name,
        "owner": branch.owner,
        "commits": len(branch.commits),
        "first_commit_at": instant(branch.first),
        "last_commit_at": instant(branch.last),
        "conflicts": None if work.conflicts is None else list(work.conflicts[:LISTED]),
    }


if __name__ == "__main__":
    sys.exit(main())
