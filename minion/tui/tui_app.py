"""The terminal view's program: its screens, what all of them share, and the keys that work on each."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from minion.clock import Clock
from minion.config import Config, Home
from minion.tui.aside import Ahead, aside
from minion.tui.messages import Changed
from minion.tui.place import Place
from minion.tui.program import Subject
from minion.tui.reading import Reading, Snapshot
from minion.tui.screens.home import HomeScreen
from minion.tui.steering import Steering
from minion.tui.watching import Watcher
from server.contract.refusals import Refusal

if TYPE_CHECKING:
    from textual.driver import Driver

    from minion.tui.outlook import Outlook

# The screens that a key of their own leads to, in the order of the keys.
PLACES: Final = (
    ("1", "home", "Home"), ("2", "runs", "Runs"), ("3", "slots", "Slots"), ("4", "gaps", "Gaps"),
    ("5", "inbox", "Inbox"), ("6", "skills", "Skills"), ("7", "effects", "Effects"), ("8", "why", "Why"),
)  # fmt: skip
# Where more is shown of what a line is about, by its kind; told of the routine there, or of what the line names.
_OPENS: Final = {
    "routine": ("runs", True), "strip": ("slots", True), "due": ("slots", True), "decision": ("inbox", False),
    "rejected": ("inbox", False), "effect": ("effects", False), "gap": ("gaps", False), "file": ("why", True),
    "alert": ("why", True),
}  # fmt: skip
_SCREENS: Final = {
    "runs": ("runs", "RunsScreen"), "run": ("run", "RunScreen"), "slots": ("slots", "SlotsScreen"),
    "gaps": ("gaps", "GapsScreen"), "inbox": ("inbox", "InboxScreen"), "skills": ("skills", "SkillsScreen"),
    "effects": ("effects", "EffectsScreen"), "why": ("why", "WhyScreen"),
}  # fmt: skip
_AFTERWARDS_S: Final = 0.2
# So long what was begun ahead is waited for before anything is drawn.
_AT_ONCE_S: Final = 0.3
_MINUTE: Final = timedelta(minutes=1)


class MinionApp(App[None]):
    """Shows one minion and steers it through its daemon."""

    TITLE = "minion"
    CSS_PATH = "styles.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit", show=False),
        *(Binding(key, f"go('{name}')", title, show=False) for key, name, title in PLACES),
    ]

    def __init__(
        self, home: Home, config: Config, clock: Clock, *, first: Ahead[Snapshot] | None = None,
        painted: Callable[[], None] = lambda: None, called: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        """`first` is the first snapshot, which somebody began to make; `painted` is called when it was shown.

        `called` gives a hint in which commands stand as this program was called.
        """
        super().__init__()
        self.animation_level = "none"  # each frame of one is sent over ssh, and nobody looks at it
        self.clock = clock
        self.reading = Reading(home, config, clock)
        self._first = first
        self._painted = painted
        self.called = called
        self.steering = Steering(home, self.notify, called)
        self.snapshot: Snapshot | None = None
        self.outlook: Outlook | None = None
        self._watcher = Watcher(home, self._changed)
        self._known: Any = None

    def get_driver_class(self) -> type[Driver]:
        """Textual's choice, but for a driver of terminals that takes no processor time while nobody types."""
        chosen = super().get_driver_class()
        if chosen.__name__ != "LinuxDriver":
            return chosen
        from minion.tui.quiet_driver import QuietDriver

        return QuietDriver

    async def on_mount(self) -> None:
        """Begin with the home screen, and to watch."""
        if self._first is not None:
            # Almost always there by now; then the first thing that is drawn is all there is to see.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AT_ONCE_S):
                    self.snapshot = await aside(self._first.answer)
        self.push_screen(HomeScreen())
        self._watcher.begin()
        self._tick()

    def on_unmount(self) -> None:
        """Watch no more."""
        self._watcher.end()

    def on_changed(self, _: Changed) -> None:
        """Have the screen in front look again."""
        if (place := self._place()) is not None:
            place.look()

    async def look(self) -> None:
        """Make a new snapshot and go by it; find out what follows from it where that may be another thing now."""
        first, self._first = self._first, None
        found = await aside(self.reading.snapshot if first is None else first.answer)
        self.snapshot = found
        said = found.document
        known = None if said is None else [
            (item["name"], item["last_run"], item["next"], item["paused"]) for item in said["routines"]
        ]  # fmt: skip
        if known is not None and known != self._known:
            self._known = known
            # What was read is shown first: this takes a while, and the processor.
            self.set_timer(_AFTERWARDS_S, lambda: self._begin_outlook(found))

    def _begin_outlook(self, found: Snapshot) -> None:
        self._painted()
        self.run_worker(self._look_ahead(found), group="outlook", exclusive=True)

    async def _look_ahead(self, found: Snapshot) -> None:
        from minion.tui.outlook import outlook

        try:
            self.outlook = await aside(lambda: self.reading.read(
                lambda db: outlook(db, zone=found.config.timezone, now=found.now, runs=found.runs)
            ))  # fmt: skip
        except Refusal:
            self.outlook = None
        self.refresh_places()

    def refresh_places(self) -> None:
        """Have the screen in front show what is known now."""
        if (place := self._place()) is not None:
            place.renew()

    def _place(self) -> Place | None:
        """The screen in front, behind a question if one stands before it; None when the view is about to end."""
        return next((each for each in reversed(self.screen_stack) if isinstance(each, Place)), None)

    def _changed(self) -> None:
        self.post_message(Changed())  # which may be called from any thread

    def _tick(self) -> None:
        """Show the time anew when a minute is over, and look; nothing else here wakes up by itself."""
        now = self.clock()
        self.refresh_places()
        place = self._place()
        if place is not None and self.snapshot is not None and self.snapshot.live is not None:
            place.look()  # a daemon that hangs says nothing of it
        left = _MINUTE.total_seconds() - now.second - now.microsecond / 1_000_000
        self.set_timer(left + 0.01, self._tick)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the command palette offers: the screens, what can be done on this one, and Textual's own."""
        yield from super().get_system_commands(screen)
        for key, name, title in PLACES:
            yield SystemCommand(f"Go: {title}", f"also the key {key}", lambda name=name: self.action_go(name))

    def action_go(self, name: str) -> None:
        """Go to a screen by its name; home lies below all of them."""
        while len(self.screen_stack) > 2:
            self.pop_screen()
        if name != "home":
            self.push_screen(screen_of(name))

    def show_why(self, routine: str) -> None:
        """Say why a routine ran, or did not."""
        self.push_screen(screen_of("why", routine))

    def open(self, key: str, subject: Subject) -> None:
        """Show more of what was chosen: a list's key, `KIND:…`, and what it is about."""
        kind = key.partition(":")[0]
        if kind in ("run", "live") and subject.run is not None:
            self.push_screen(screen_of("run", subject.run))
        elif kind in _OPENS:
            name, of_routine = _OPENS[kind]
            self.push_screen(screen_of(name, subject.routine if of_routine else key.partition(":")[2]))


def screen_of(name: str, about: str | None = None) -> Place:
    """A screen by its name, told what it is about; loaded when somebody goes there."""
    module, made = _SCREENS[name]
    screen: Place = getattr(importlib.import_module(f"minion.tui.screens.{module}"), made)(about)
    return screen


def collect_seldom() -> None:
    """Look for garbage again, but not through what is there now, and seldom through all: it would miss a frame."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()
