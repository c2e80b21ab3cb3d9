"""Entry of the skill: reads the task from stdin, sorts one folder's files, stages the table as a file."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The skill's folder is pinned by a digest, and `python -I` leaves the script's own folder off the path.
sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from ages import Ages  # noqa: E402
from git_history import HistoryUnreadable  # noqa: E402
from inbox import FolderUnreadable, Listing, list_files, open_folder, read_files  # noqa: E402
from plain_text import clean  # noqa: E402
from sorting import Row, sorted_files  # noqa: E402
from task import Task, TaskRefused, print_result, read_task  # noqa: E402
from triage_page import Triage, full_page, short_page, title  # noqa: E402
from wording import Clock  # noqa: E402

DEFAULT_FOLDER = "inbox"
TARGET = "triage.md"
LISTED = 200


def main() -> int:
    """Exit status: 0 with the result on stdout; 1 the folder cannot be read; 2 the task cannot."""
    try:
        task = read_task(sys.stdin.buffer.read())
        repository, folder = task.repositories[0], folder_of(task)
        if repository.get("path") is None:
            raise TaskRefused("repositories[0].path is missing.")
        clock = Clock(task.now, task.zone, task.zone_name)
        triage = look_into(repository, folder, clock)
    except TaskRefused as refusal:
        print(refusal, file=sys.stderr)
        return 2
    except FolderUnreadable as failure:
        print(failure, file=sys.stderr)
        return 1
    print_result(
        {
            "text": short_page(triage, clock),
            "data": _data(triage),
            "effects": [{"kind": "file", "target": TARGET, "body": full_page(triage, clock)}],
        }
    )
    return 0


def folder_of(task: Task) -> str:
    """The folder to sort: the setting `folder`, else `inbox`. Raises `TaskRefused` for one elsewhere."""
    said = (task.setting("folder") or DEFAULT_FOLDER).strip("/")
    parts = said.split("/")
    if not said or "\\" in said or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise TaskRefused(
            f"The setting folder is {said[:60]!r}; name a folder of the repository, such as inbox."
        )
    return said


def look_into(repository: Mapping[str, Any], folder: str, clock: Clock) -> Triage:
    """The folder's files with what to do about each. Raises `FolderUnreadable`."""
    name = clean(repository["name"], 60)
    top = open_folder(repository["path"], folder)
    if top is None:
        return Triage(name, folder, Listing(found=False), [], dated=True)
    try:
        listing = list_files(top)
        contents = read_files(top, listing)
    finally:
        os.close(top)
    dated, ages = True, {}
    try:
        history = Ages(name, repository["history"])
        _, tip = history.branch_and_tip(repository.get("branch"))
        paths = {entry.path for entry in listing.files}
        ages = history.last_changed(tip, folder, paths) if tip and paths else {}
    except HistoryUnreadable as failure:
        # The table is worth having without it, and says so.
        print(failure, file=sys.stderr)
        dated = False
    return Triage(name, folder, listing, sorted_files(listing.files, contents, ages, clock), dated)


def _data(triage: Triage) -> dict[str, Any]:
    return {
        "summary": f"sorted {title(triage)}",
        "folder": triage.folder,
        "files": len(triage.rows),
        "bytes": sum(row.size for row in triage.rows),
        "actions": triage.actions,
        "links": triage.listing.links,
        "not_listed": triage.listing.more,
        "not_read": triage.listing.unread,
        "rows": [_row(row) for row in triage.rows[:LISTED]],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "path": row.path,
        "kind": row.kind,
        "size": row.size,
        "age_days": row.age,
        "action": row.action,
        "why": row.why,
        "copy_of": row.twin,
        "secret": row.signs.secret,
        "due": row.signs.due.isoformat() if row.signs.due is not None else None,
        "invoice": row.signs.invoice,
    }


if __name__ == "__main__":
    sys.exit(main())
