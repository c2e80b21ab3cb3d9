"""Opens one run of a story's home in the terminal view, and reads what is said of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minion.tui.screens.run import RunScreen
from minion.tui.tui_app import screen_of
from minion.tui.widgets.paper import Paper
from tests.tui.piloting import SIZE, Seen, Stage, home_with, show
from tests.tui.run_stories import runs_to_open
from tests.tui.stories import Story


def opened(
    folder: Path, run: str, seen: Seen, *, story: Story = runs_to_open, size: tuple[int, int] = SIZE,
    keys: Sequence[str] = (), prepare: Any = None, **more: Any,
) -> None:  # fmt: skip
    """Open a run of a story's home, press keys, and have `seen` look; `prepare` is given the home before."""
    home, config = home_with(folder, story)
    if prepare is not None:
        prepare(home)

    async def look(stage: Stage) -> None:
        stage.app.push_screen(screen_of("run", run))
        await stage.until(lambda: isinstance(stage.app.screen, RunScreen))
        await stage.settled()
        await stage.keys(*keys)
        await seen(stage)

    show(home, config, look, size=size, **more)


def said_beside(stage: Stage) -> str:
    """What is said of the chosen step, as far as it can be scrolled."""
    return "\n".join(row.plain for row in stage.app.screen.query_one("#about", Paper).rows)
