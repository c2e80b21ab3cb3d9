"""Entry of the skill: reads the task from stdin and each repository's history, prints the report as JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from math import ceil
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

# The skill's folder is pinned by a digest, and `python -I` leaves the script's own folder off the path.
sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from git_history import History, HistoryUnreadable, Period  # noqa: E402
from page import Findings, Frame, count, overall, write_page  # noqa: E402
from plain_text import clean  # noqa: E402
from tally import Noted, Share, Tally, tally, tally_branches  # noqa: E402

PROTOCOL = 1
LISTED = 200


class TaskRefused(Exception):
    """A task that says too little or something unreadable; the message is one sentence naming the field."""


def main() -> int:
    """Exit status: 0 with the result on stdout; 1 a history cannot be read; 2 the task cannot."""
    try:
        document = _task(sys.stdin.buffer.read())
        frame = _frame(document)
        asked = _repositories(document)
        found = [look_into(repository, frame.period) for repository in asked]
    except TaskRefused as refusal:
        print(refusal, file=sys.stderr)
        return 2
    except HistoryUnreadable as failure:
        print(failure, file=sys.stderr)
        return 1
    result = {"text": write_page(found, frame), "data": _data(document, found)}
    sys.stdout.buffer.write(json.dumps(result, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    return 0


def look_into(repository: Mapping[str, Any], period: Period) -> Findings:
    """All that one repository's history says about the period. Raises `HistoryUnreadable`."""
    name, asked_branch = repository["name"], repository.get("branch")
    history = History(name, repository["history"])
    branch, tip = history.branch_and_tip(asked_branch)
    counted = tally(history.commits(tip, period), cut_off=history.shallow_edge()) if tip else Tally()
    earlier = history.merged_from_before(tip, period) if tip and counted.merges else 0
    previous = history.last_before(tip, period.end) if tip and counted.last is None else None
    branches = tally_branches(history.elsewhere(tip, period))
    return Findings(
        name=clean(name, 60),
        branch=branch,
        asked_branch=asked_branch if tip else None,
        tip=tip is not None,
        tally=counted,
        merged_from_before=earlier,
        branches=branches,
        previous=previous,
    )


def _task(raw: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise TaskRefused("The task on stdin is not one JSON document.") from None
    if not isinstance(document, dict):
        raise TaskRefused("The task on stdin is not a JSON object.")
    if document.get("v") != PROTOCOL:
        raise TaskRefused(f"v is {document.get('v')!r}, and this skill speaks version {PROTOCOL}.")
    return document


def _frame(document: Mapping[str, Any]) -> Frame:
    since, now = _moment(document, "since"), _moment(document, "now")
    if since >= now:
        raise TaskRefused("since is not before now: there is no period to report on.")
    # Commit times are whole seconds: since <= time < now, so that two reports in a row share none.
    period = Period(max(0, ceil(since.timestamp())), ceil(now.timestamp()))
    zone, zone_name = _zone(document.get("timezone"))
    return Frame(period, zone, zone_name)


def _moment(document: Mapping[str, Any], field: str) -> datetime:
    try:
        moment = datetime.fromisoformat(str(document.get(field)).replace("Z", "+00:00"))
    except ValueError:
        raise TaskRefused(f"{field} is no instant such as 2026-11-20T08:00:00.000Z.") from None
    if moment.tzinfo is None:
        raise TaskRefused(f"{field} has no zone; write it as 2026-11-20T08:00:00.000Z.")
    return moment.astimezone(UTC)


def _zone(name: object) -> tuple[tzinfo, str]:
    if name in (None, "", "UTC"):
        return UTC, "UTC"
    try:
        return ZoneInfo(str(name)), clean(str(name), 40)
    except (KeyError, OSError, ValueError):
        print(f"The zone {clean(str(name), 40)} is not known here; times are UTC.", file=sys.stderr)
        return UTC, "UTC"


def _repositories(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    repositories = document.get("repositories")
    if not isinstance(repositories, list) or not repositories:
        raise TaskRefused("repositories is empty: the routine names no repository to report on.")
    for number, repository in enumerate(repositories):
        for field in ("name", "history"):
            if not isinstance(repository, dict) or not isinstance(repository.get(field), str):
                raise TaskRefused(f"repositories[{number}].{field} is missing.")
        if not isinstance(repository.get("branch"), str | None):
            raise TaskRefused(f"repositories[{number}].branch is not a text.")
    return repositories


def _data(document: Mapping[str, Any], found: Sequence[Findings]) -> dict[str, Any]:
    return {
        "summary": _summary(found),
        "since": document["since"],
        "until": document["now"],
        "commits": sum(item.tally.total.commits for item in found),
        "merges": sum(item.tally.merges for item in found),
        "repositories": [_repository_data(item) for item in found],
    }


def _summary(found: Sequence[Findings]) -> str:
    if len(found) > 1:
        said = overall(found)
        return "reported " + said[0].lower() + said[1:]
    only = found[0]
    if not only.tally.total.commits:
        return f"reported no commits in {only.name}"
    authors = count(len(only.tally.authors), "author")
    return f"reported {count(only.tally.total.commits, 'commit')} by {authors} in {only.name}"


def _repository_data(found: Findings) -> dict[str, Any]:
    counted = found.tally
    return {
        "name": found.name,
        "branch": found.branch,
        "has_commits": found.tip,
        **_share_data(counted.total),
        "merges": counted.merges,
        "merged_from_before": found.merged_from_before,
        "binary_files": len(counted.binary_files),
        "first_commit_at": _instant(counted.first),
        "last_commit_at": _instant(counted.last),
        "previous_commit_at": _instant(found.previous.at if found.previous else None),
        "authors_count": len(counted.authors),
        "authors": [_named(share) for share in counted.ranked_authors()[:LISTED]],
        "areas_count": len(counted.areas),
        "areas": [_named(share) for share in counted.ranked_areas()[:LISTED]],
        "noteworthy": [_noted(note) for note in counted.ranked_commits()[:8]],
        "branches": [
            {"name": share.name, "commits": share.commits, "last_commit_at": _instant(share.last)}
            for share in found.branches[:LISTED]
        ],
    }


def _share_data(share: Share) -> dict[str, int]:
    return {
        "commits": share.commits,
        "files": len(share.files),
        "added": share.added,
        "removed": share.removed,
    }


def _named(share: Share) -> dict[str, Any]:
    return {"name": share.name, **_share_data(share)}


def _noted(note: Noted) -> dict[str, Any]:
    return {
        "commit": note.sha,
        "subject": note.subject,
        "author": note.author,
        "files": note.files,
        "added": note.added,
        "removed": note.removed,
        "why": note.why,
    }


def _instant(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


if __name__ == "__main__":
    sys.exit(main())
