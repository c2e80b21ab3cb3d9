"""The pictures of the terminal view: each screen at two sizes, and those that README shows, from fixed stories.

`python -m tests.tui.pictures --write` draws them anew into `tests/tui/pictures/`; a test holds them against the
screens. They are SVG as Textual exports it, without the fonts that it would fetch.
"""

from __future__ import annotations

import contextlib
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from textual.widgets import Input

from minion.tui.reading import Reading
from server.contract.digest import instant
from tests.tui.piloting import Stage, home_with, show
from tests.tui.stories import Story, a_week, before, held_one, under_way_now

FOLDER: Final = Path(__file__).with_name("pictures")
SIZES: Final = ((80, 24), (200, 60))
# What README shows.
_FRONT: Final = (100, 30)


class UpSince(Reading):
    """Reads a home as if a daemon had run it for 41 days, which no test can wait for; its store is real."""

    def live(self) -> Mapping[str, Any]:
        """What such a daemon would say."""
        return {"pid": 4711, "since": instant(before(days=41)), "version": None, "health": "ok", "trouble": [],
                "stopping": False, "hq": None}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Picture:
    """One screen of a story: the keys that lead to it, and the size of the terminal in cells."""

    name: str
    story: Story
    keys: Sequence[str]
    size: tuple[int, int]

    @property
    def file(self) -> Path:
        """Where it lies."""
        return FOLDER / f"{self.name}-{self.size[0]}x{self.size[1]}.svg"


_SCREENS: Final[Sequence[tuple[str, Story, Sequence[str]]]] = (
    ("home", under_way_now, ()),
    ("runs", under_way_now, ("2",)),
    ("run", a_week, ("enter",)),
    ("slots", a_week, ("3",)),
    ("gaps", a_week, ("4",)),
    ("inbox", held_one, ("5",)),
    ("skills", a_week, ("6",)),
    ("effects", a_week, ("7",)),
    ("why", a_week, ("8",)),
    ("help", a_week, ("question_mark",)),
    ("confirm", a_week, ("r",)),
    ("decide", held_one, ("d",)),
)
PICTURES: Final = (
    *(Picture(*screen, size) for screen in _SCREENS for size in SIZES),
    *(Picture(*screen, _FRONT) for screen in _SCREENS if screen[0] in ("home", "run", "decide")),
)


def drawn(picture: Picture) -> str:
    """The picture as it is now."""
    svg = ""

    async def seen(stage: Stage) -> None:
        nonlocal svg
        await stage.until(lambda: stage.app.outlook is not None)
        for field in stage.app.screen.query(Input):
            field.cursor_blink = False
        await stage.settled()
        svg = stage.app.export_screenshot(title="minion tui")

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        home, config = home_with(Path.cwd(), picture.story)
        reading = UpSince if picture.size == _FRONT else Reading
        show(home, config, seen, size=picture.size, keys=picture.keys, reading=reading)
    return _plain(svg)


def _plain(svg: str) -> str:
    """An exported picture without what differs each time or is fetched from elsewhere."""
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main() -> int:
    """Draw them all and write what changed; without `--write` say what would."""
    FOLDER.mkdir(exist_ok=True)
    wanted = {picture.file: drawn(picture) for picture in PICTURES}
    changed = [file for file, svg in wanted.items() if not file.exists() or file.read_text() != svg]
    changed += [file for file in FOLDER.iterdir() if file not in wanted]
    for file in changed:
        print(file.relative_to(FOLDER.parent))
        if "--write" in sys.argv:
            file.write_text(wanted[file]) if file in wanted else file.unlink()
    return 1 if changed and "--write" not in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
