"""Says when each file of a folder was last changed, by the history of the repository."""

import secrets

from git_history import History, _seconds


class Ages(History):
    """A repository's history, read for one folder."""

    def last_changed(self, tip: str, folder: str, paths: set[bytes]) -> dict[bytes, int]:
        """Commit times in seconds since 1970 by path below `folder`; those git does not know are left out.

        At the edge of a shallow clone a file is as old as the edge: at least that is known.
        """
        start = secrets.token_hex(16)
        arguments = ["--literal-pathspecs", "log", "-z", "--no-color", "--no-show-signature", "--name-only"]
        arguments += [
            "--no-renames",
            "--no-ext-diff",
            f"--format=tformat:{start}%x00%ct%x00",
            tip,
            "--",
            folder,
        ]
        pieces = self._stream(arguments)
        before, at = folder.encode() + b"/", 0
        found: dict[bytes, int] = {}
        for piece in pieces:
            piece = piece.lstrip(b"\n")
            if piece == start.encode("ascii"):
                if len(found) == len(paths):
                    break
                at = _seconds(next(pieces, b""))
                continue
            path = piece.removeprefix(before)
            if path in paths:
                found.setdefault(path, at)
        return found
