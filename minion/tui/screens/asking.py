"""Asks before something is done that cannot be undone, and before anything is decided for good."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class Confirm(ModalScreen[bool]):
    """One question with its consequence; `y` does it, anything else does not."""

    BINDINGS = [  # noqa: RUF012 - as Textual has it
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str, consequence: str) -> None:
        super().__init__()
        self._question = question
        self._consequence = consequence

    def compose(self) -> ComposeResult:
        """The question, what comes of it, and the keys."""
        with Vertical(classes="asking"):
            yield Static(Content.styled(self._question, "bold"))
            yield Static(Content(self._consequence), classes="quiet")
            yield Static(Content.assemble(("y", "bold"), " yes    ", ("n", "bold"), " no"), classes="keys")

    def action_answer(self, answer: bool) -> None:
        """Close with the answer."""
        self.dismiss(answer)


class Deciding(ModalScreen[str | None]):
    """A decision: what it is about, and an answer that is typed; a key pressed by accident decides nothing."""

    BINDINGS = [Binding("escape", "leave", "decide later")]  # noqa: RUF012 - as Textual has it

    def __init__(self, question: str, evidence: Sequence[Content], *, yes: str, no: str | None) -> None:
        """`yes` and `no` say what typing `y` or `n` does; `no` None: there is but one answer."""
        super().__init__()
        self._question = question
        self._evidence = evidence
        self._yes = yes
        self._no = no

    def compose(self) -> ComposeResult:
        """The question, the evidence, what each answer does, and where it is typed."""
        with Vertical(classes="asking wide"):
            yield Static(Content.styled(self._question, "bold"))
            with VerticalScroll(classes="evidence"):
                for line in self._evidence:
                    yield Static(line)
            yield Static(Content.assemble(("y", "bold"), f"  {self._yes}"))
            if self._no is not None:
                yield Static(Content.assemble(("n", "bold"), f"  {self._no}"))
            yield Input(placeholder="type your answer, then Enter; Escape decides nothing", max_length=3)

    def on_mount(self) -> None:
        """The answer is typed at once."""
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take a plain `y` or `n`; anything else is no answer."""
        said = event.value.strip().lower()
        if said == "y" or (said == "n" and self._no is not None):
            self.dismiss(said)
            return
        event.input.clear()
        words = "y or n" if self._no is not None else "y"
        self.notify(f"Type {words}; Escape decides nothing.", severity="warning")

    def action_leave(self) -> None:
        """Decide nothing."""
        self.dismiss(None)
