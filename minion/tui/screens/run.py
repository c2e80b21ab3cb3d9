"""One run: its verdict and the first step that went wrong, then all that is known of it, part by part; live."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.timer import Timer
from textual.widgets import ContentSwitcher, Markdown, Static

from minion.spelling import plain
from minion.terminal import folder_opener
from minion.tui.aside import aside
from minion.tui.lines import DIM, text
from minion.tui.place import Place
from minion.tui.program import Subject
from minion.tui.reading import Reading
from minion.tui.run_files import SHOWN_BYTES, beginning_of
from minion.tui.run_parts import (
    causes,
    compared,
    effect_entries,
    facts,
    file_entries,
    headline,
    whole_effect,
    whole_moment,
)
from minion.tui.run_reading import FoundRun, RunWatch
from minion.tui.run_steps import about, opening_key, tree
from minion.tui.screens.leaf import LeafScreen
from minion.tui.widgets.listing import Listing
from minion.tui.widgets.paper import Page, Paper, wrapped
from minion.tui.widgets.parts import Parts
from minion.tui.widgets.transcript import Transcript

_PARTS: Final = ("steps", "transcript", "report", "compared", "effects", "files", "facts")
# What the keys go to in a part whose own widget takes none.
_FOCUS: Final = {"steps": "tree"}
# What can be narrowed to what is sought.
_FINDS: Final = ("steps", "transcript", "effects", "files")


class RunScreen(Place):
    """A run that has ended, or goes on while it is looked at."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "part(1)", "part", show=False),
        Binding("shift+tab", "part(-1)", "part before", show=False),
        Binding("right,l", "beside(1)", "beside", show=False),
        Binding("left,h", "beside(-1)", "beside", show=False),
        Binding("y", "copy_id", "copy id"),
        Binding("o", "open_folder", "folder"),
        Binding("u", "copy_undo", "copy undo", show=False),
    ]
    DEFAULT_CSS = """
    RunScreen #headline, RunScreen #causes { height: auto; padding: 0 1; }
    RunScreen #causes { max-height: 4; }
    RunScreen ContentSwitcher { height: 1fr; }
    RunScreen #steps { layout: horizontal; height: 1fr; }
    RunScreen #tree { width: 1fr; max-width: 100; }
    RunScreen #about { width: 1fr; }
    RunScreen.-narrow #steps { layout: vertical; }
    RunScreen.-narrow #tree { width: 100%; max-width: 100%; height: 45%; }
    RunScreen.-narrow #about { width: 100%; height: 1fr; border-top: solid $panel; }
    RunScreen #report { padding: 0 1; }
    RunScreen #page { background: transparent; padding: 0 1; }
    RunScreen #page MarkdownH1 { content-align-horizontal: left; margin: 1 0; }
    RunScreen #page MarkdownH2 { text-style: bold; }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (96, "-wide")]  # noqa: RUF012 - as Textual has it
    deeds: ClassVar[frozenset[str]] = frozenset(
        {"why", "run_now", "cancel_run", "decide", "redeliver", "halt"}
    )

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self._run_id = run_id
        self._watch = RunWatch(run_id)
        self._part = "steps"
        self._put: str | None = None
        self._was_moved = False
        self._written: str | None = None
        self._second: Timer | None = None

    def body(self) -> ComposeResult:
        """What came of it, the names of its parts, and the one that is shown."""
        yield Static(id="headline")
        yield Static(id="causes")
        yield Parts(id="parts")
        with ContentSwitcher(initial="steps"):
            with Container(id="steps"):
                yield Listing(id="tree")
                yield Paper(id="about", edge=True)
            yield Transcript(id="transcript")
            with VerticalScroll(id="report"):
                yield Markdown(id="page", open_links=False)
            yield Paper(id="compared")
            yield Listing(id="effects")
            yield Listing(id="files")
            yield Paper(id="facts")

    @property
    def subject(self) -> Subject:
        """The run; in the list of effects also one that nobody knows the end of."""
        found = self._run
        if found is None:
            return Subject(run=self._run_id)
        effect = self._effect() if self._part == "effects" else None
        unknown = effect["id"] if effect is not None and effect["state"] == "unknown" else None
        return Subject(str(found.run["routine"]), str(found.run["id"]), effect=unknown)

    @property
    def _run(self) -> FoundRun | None:
        found: FoundRun | None = self.found
        return found

    def read(self, reading: Reading) -> FoundRun:
        """The run as it is now."""
        return self._watch.read(reading)

    def show(self) -> None:
        """Show what came of it, and the part that is in front."""
        self._show_head()
        found = self._run
        if found is None:
            return
        names = {"effects": len(found.run["effects"]), "files": len(found.files)}
        titles = tuple((name, f"{name.capitalize()} {names.get(name) or ''}".rstrip()) for name in _PARTS)
        bar = self.query_one(Parts)
        bar.titles, bar.current = titles, self._part
        shown: dict[str, Callable[[FoundRun], None]] = {
            "steps": self._show_steps, "transcript": self._show_transcript, "report": self._show_report,
            "compared": self._show_compared, "effects": self._show_effects, "files": self._show_files,
            "facts": self._show_facts,
        }  # fmt: skip
        shown[self._part](found)
        self._keep_time(found)

    def _show_head(self) -> None:
        width, now, found = max(20, self.size.width - 2), self.minion.clock(), self._run
        lines: list[Content] = []
        if self.refusal is not None:
            lines += (text("✗ ", "$text-error") + text(self.refusal.sentence)).wrap(width)
            lines += text(f"hint: {self.refusal.hint}", DIM).wrap(width)
            if found is not None:
                lines.append(text("What stands below is how it was before.", DIM))
        elif found is not None:
            lines.append(headline(found, width, now))
        self.query_one("#headline", Static).update(Content("\n").join(lines))
        more = causes(found, width, now) if found is not None and self.refusal is None else []
        self.query_one("#causes", Static).update(Content("\n").join(more))
        self.query_one("#causes", Static).display = bool(more)

    def _show_steps(self, found: FoundRun) -> None:
        listing = self.query_one("#tree", Listing)
        listing.show(tree(found, self.minion.clock(), self.sought.lower().split()))
        if not self._was_moved and not self.sought:
            self._put = opening_key(found)
            if self._put is not None:
                listing.choose(self._put)
        self._show_about()

    def _show_about(self) -> None:
        found, key, now = self._run, self.query_one("#tree", Listing).chosen, self.minion.clock()
        if found is not None:
            self.query_one("#about", Paper).show(lambda width: about(key, found, now, width), key)

    def _show_transcript(self, found: FoundRun) -> None:
        self.query_one(Transcript).tell(found.moments, found.zone, self.sought, live=not found.is_over)

    def _show_report(self, found: FoundRun) -> None:
        words = plain(found.report) or "_It made no report._"
        if words != self._written:
            self._written = words
            self.query_one("#page", Markdown).update(words)

    def _show_compared(self, found: FoundRun) -> None:
        self.query_one("#compared", Paper).show(lambda width: compared(found, width), "compared")

    def _show_effects(self, found: FoundRun) -> None:
        self.query_one("#effects", Listing).show(effect_entries(found, self.matches))

    def _show_files(self, found: FoundRun) -> None:
        self.query_one("#files", Listing).show(file_entries(found.files, self.matches))

    def _show_facts(self, found: FoundRun) -> None:
        now = self.minion.clock()
        self.query_one("#facts", Paper).show(lambda width: facts(found, width, now), "facts")

    def _keep_time(self, found: FoundRun) -> None:
        """While it runs, times are shown to the second."""
        if not found.is_over and self.refusal is None and self._second is None:
            self._second = self.set_timer(1.0, self._second_over)

    def _second_over(self) -> None:
        self._second = None
        found = self._run
        if not self.is_current or found is None:
            return
        self._show_head()
        if self._part == "steps":
            self._show_steps(found)
        self._keep_time(found)

    def on_resize(self, _: Resize) -> None:
        """Lay the head out anew: there is more room, or less."""
        if self.is_mounted and (self.found is not None or self.refusal is not None):
            self._show_head()

    def on_listing_moved(self, event: Listing.Moved) -> None:
        """Show what the chosen step is about; from then on the cursor stays where somebody put it."""
        if event.listing.id == "tree":
            self._was_moved = self._was_moved or (event.listing.chosen != self._put and not self.sought)
            self._show_about()

    def on_listing_opened(self, event: Listing.Opened) -> None:
        """Show more of what was chosen."""
        found, (kind, _, name) = self._run, event.key.partition(":")
        if found is None:
            return
        if event.listing.id == "tree":
            self.query_one("#about", Paper).focus()
        elif kind == "event":
            moment = found.moments[int(name) - 1]
            self._turn_to(moment.type, lambda width: whole_moment(moment, width, found.zone))
        elif kind == "file":
            self.begin(self._show_file(found.folder, name))
        elif kind == "effect":
            self.begin(self._show_effect(found))

    def _turn_to(self, heading: str, page: Page) -> None:
        self.app.push_screen(LeafScreen(heading, page))

    async def _show_file(self, folder: Path, name: str) -> None:
        try:
            begins = await aside(lambda: beginning_of(folder, name))
        except OSError as error:
            return self.say(f"{name} cannot be read: {error.strerror or 'it is no plain file'}.")
        if begins.text is None:
            return self.say(f"{name} is no text.")
        words = begins.text or "It is empty."
        if begins.size > SHOWN_BYTES:
            words += f"\n… {begins.size - SHOWN_BYTES:,} more bytes"
        return self._turn_to(f"{name}  {begins.size:,} bytes", lambda width: list(wrapped(words, width)))

    async def _show_effect(self, found: FoundRun) -> None:
        effect = self._effect()
        if effect is None:
            return
        number = [each["id"] for each in found.run["effects"]].index(effect["id"]) + 1
        body = await aside(lambda: _body(found.folder, number))
        heading = f"{effect['kind']}:{effect['target']}"
        self._turn_to(heading, lambda width: whole_effect(effect, width, body))

    def _effect(self) -> dict[str, Any] | None:
        """The effect under the cursor."""
        found, key = self._run, self.query_one("#effects", Listing).chosen or ""
        effects = found.run["effects"] if found is not None else []
        return next((each for each in effects if f"effect:{each['id']}" == key), None)

    def on_parts_chosen(self, event: Parts.Chosen) -> None:
        """Show the part that was clicked at."""
        self._go_to(event.part)

    def action_part(self, by: int) -> None:
        """Go to the next part, or the one before."""
        self._go_to(_PARTS[(_PARTS.index(self._part) + by) % len(_PARTS)])

    def _go_to(self, part: str) -> None:
        self._part = part
        self.query_one(ContentSwitcher).current = part
        self.query_one(f"#{_FOCUS.get(part, part)}").focus()
        self.refresh_bindings()
        self.renew()

    def action_beside(self, way: int) -> None:
        """Go to what is said of the chosen step, or back to the steps."""
        if self._part == "steps":
            self.query_one("#about" if way > 0 else "#tree").focus()

    def action_back(self) -> None:
        """Leave what is said of a step, else finding, else the screen."""
        if self.query_one("#about", Paper).has_focus:
            self.query_one("#tree").focus()
        else:
            super().action_back()

    def _leave_find(self) -> None:
        super()._leave_find()
        self.query_one(f"#{_FOCUS.get(self._part, self._part)}").focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what makes sense in the part that is shown has a key."""
        if action == "find":
            return self._part in _FINDS
        if action in ("copy_undo", "decide"):
            return self._part == "effects"
        return super().check_action(action, parameters)

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        """Say where a link of a report leads: it was written by others, and nothing of it is opened."""
        event.stop()
        self.notify(plain(event.href)[:400], title="No link is opened here", markup=False)

    def action_copy_id(self) -> None:
        """Copy the run's id to the clipboard."""
        self._copy(self._run_id if self._run is None else str(self._run.run["id"]))

    def action_copy_undo(self) -> None:
        """Copy the command that takes an effect back."""
        effect = self._effect()
        if effect is None or not effect["reverse"]:
            return self.say("No command takes this back.")
        return self._copy(plain(effect["reverse"]))

    def _copy(self, words: str) -> None:
        self.app.copy_to_clipboard(words)
        self.notify(f"Copied: {words}", markup=False)

    def action_open_folder(self) -> None:
        """Open the run's folder where there is a desktop, else say where it is."""
        if self._run is not None:
            self.begin(self._open_folder(self._run.folder))

    async def _open_folder(self, folder: Path) -> None:
        program = folder_opener()
        if not await aside(folder.is_dir):
            return self.say(f"The run's folder is gone: {folder}")
        if program is None or not await aside(lambda: _opened(program, folder)):
            return self.notify(str(folder), title="The run's folder", markup=False, timeout=12)
        return self.notify(f"Opened: {folder}", markup=False)


def _opened(program: str, folder: Path) -> bool:
    """Whether the desktop's program took the folder."""
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(
            [program, str(folder)], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


def _body(folder: Path, number: int) -> str | None:
    """What an effect was to bring, as far as its folder keeps it."""
    import json

    try:
        begins = beginning_of(folder, f"effects/{number:02d}.json")
        held = json.loads(begins.text or "")
    except (OSError, ValueError, RecursionError):
        return None
    body = held.get("body") if isinstance(held, dict) else None
    return body if isinstance(body, str) else None
