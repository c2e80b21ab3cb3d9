"""Drives the terminal view in a test: a home with a story, keys pressed, and the screen read as text."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path

from textual.pilot import Pilot

from minion.clock import Clock
from minion.config import Config, Home, load_config
from minion.tui.place import Place
from minion.tui.reading import Reading
from minion.tui.tui_app import MinionApp
from tests.tui import stories

Seen = Callable[["Stage"], Awaitable[None]]
SIZE = (100, 30)
_PATIENCE_S = 20.0


class Stage:
    """The running view of one home, and its keys."""

    def __init__(self, app: MinionApp, pilot: Pilot[None], home: Home) -> None:
        self.app = app
        self.pilot = pilot
        self.home = home

    @property
    def lines(self) -> list[str]:
        """The screen as text, one string a row, without what is blank at the end."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    @property
    def text(self) -> str:
        """The screen as one text."""
        return "\n".join(self.lines)

    def line(self, words: str) -> str:
        """The first row in which these words stand. Fails where there is none."""
        found = next((line for line in self.lines if words in line), None)
        assert found is not None, self.text
        return found

    async def hears(self, words: str) -> None:
        """Wait until a notice says these words."""
        await self.until(lambda: any(words in notice.message for notice in self.app._notifications))

    async def press(self, *keys: str) -> None:
        """Press keys, each once what came of the one before is shown."""
        for key in keys:
            await self.pilot.press(key)
            await self.settled()

    async def keys(self, *keys: str) -> None:
        """Press keys one right after the other, and wait for what comes of them all."""
        await self.pilot.press(*keys)
        await self.settled()

    async def type(self, words: str) -> None:
        """Type words and Enter."""
        await self.press(*("space" if letter == " " else letter for letter in words), "enter")

    async def settled(self) -> None:
        """Wait until the screen in front has shown what it read last."""
        await self.until(self._is_settled)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so. Fails after a while, with the screen as it is then."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self.pilot.pause(0)
                while not condition():
                    await self.pilot.pause(0.01)
        except TimeoutError:
            raise AssertionError(self.text) from None
        await self.pilot.pause()

    async def shows(self, words: str) -> None:
        """Wait until these words stand on the screen."""
        await self.until(lambda: words in self.text)

    def _is_settled(self) -> bool:
        screen = self.app.screen
        if not isinstance(screen, Place):
            return True
        known = screen.found is not None or screen.refusal is not None
        return self.app.snapshot is not None and not screen._looking and known


def home_with(folder: Path, story: stories.Story | None) -> tuple[Home, Config]:
    """A home with what a story tells, told once and copied."""
    shutil.copytree(_told(story), folder / "home")
    home = Home(folder / "home")
    return home, load_config(home)


@cache
def _told(story: stories.Story | None) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tui-story-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    stories.make_home(folder, story)
    return folder / "home"


def on_stage(
    folder: Path, story: stories.Story | None, seen: Seen, *, size: tuple[int, int] = SIZE,
    keys: Sequence[str] = (),
) -> None:  # fmt: skip
    """Show a story's home, press keys, and have `seen` look."""
    home, config = home_with(folder, story)
    show(home, config, seen, size=size, keys=keys)


def show(
    home: Home, config: Config, seen: Seen, *, size: tuple[int, int] = SIZE, keys: Sequence[str] = (),
    clock: Clock = stories.at_friday, reading: type[Reading] = Reading,
    called: Callable[[str], str] = str,
) -> None:  # fmt: skip
    """Show a home, press keys, and have `seen` look. What the view raises fails the test."""

    async def run() -> None:
        app = MinionApp(home, config, clock, called=called)
        app.reading = reading(home, config, clock)
        async with app.run_test(size=size) as pilot:
            stage = Stage(app, pilot, home)
            await stage.settled()
            await stage.press(*keys)
            await seen(stage)

    asyncio.run(run())
