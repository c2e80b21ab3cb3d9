"""Every key, in one place."""

from __future__ import annotations

from typing import Final

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from minion.tui.lines import DIM

_KEYS: Final = (
    ("Look", (
        ("↑ ↓  j k", "the line above, below; Home and End, Page Up and Page Down"),
        ("enter", "open what stands under the cursor"),
        ("w", "why: the first broken link from due to delivered"),
        ("/", "find: narrow the list while you type; Escape shows all again"),
        ("tab", "the next part of the screen;  → ← in a run: to what is said of a step, and back"),
        ("o", "open a run's folder, where there is a desktop"),
        ("y", "copy: a run's id, the command that mends it or takes it back"),
        ("escape", "back"),
    )),
    ("Steer", (
        ("r", "run the routine now"),
        ("c", "cancel its run"),
        ("p", "pause the routine, or let it go on"),
        ("d", "decide what waits for you; the answer is typed"),
        ("R", "redeliver what a run made and could not deliver"),
        ("H", "halt: cancel all that runs, start nothing; once more lets it go on"),
    )),
    ("Go", (
        ("1 … 8", "Home, Runs, Slots, Gaps, Inbox, Skills, Effects, Why"),
        ("ctrl+p", "the command palette: screens, themes, a screenshot"),
        ("?", "these keys"),
        ("q", "quit; the minion goes on"),
    )),
    ("Signs", (
        ("✓ ○", "ok: checked or confirmed;  unchecked: only it says so"),
        ("✗ ◐ ?", "failed or not delivered;  a part of it;  cannot be told"),
        ("● – !", "running or due;  skipped, paused or off;  held for you"),
        ("▣ ◇", "a rigid block: trusted code in its order;  an elastic one: the session decides"),
        ("▁▂▃▄▅", "one run each: how long it took against the others"),
    )),
)  # fmt: skip


class HelpScreen(ModalScreen[None]):
    """The keys and signs, over whatever screen is open."""

    BINDINGS = [Binding("escape,q,question_mark", "dismiss", "close")]  # noqa: RUF012 - as Textual has it

    def compose(self) -> ComposeResult:
        """One block for each group of keys."""
        with VerticalScroll(classes="asking wide"):
            for title, keys in _KEYS:
                yield Static(Content.styled(title, "bold"))
                for key, does in keys:
                    yield Static(Content.assemble((f"  {key:<10}", "bold"), (does, DIM)))
