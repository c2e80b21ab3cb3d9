"""Why a routine ran or did not: its links from due to delivered, and what mends the first broken one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from textual.content import Content

from minion.spelling import MARKS
from minion.tui.lines import DIM, colour_of, text
from minion.tui.list_place import ListPlace
from minion.tui.program import Subject
from minion.tui.reading import Reading, understood
from minion.tui.widgets.listing import Entry, Listing, folded, still
from minion.tui.widgets.table import Table
from server.contract.refusals import NotFound

if TYPE_CHECKING:
    from minion.why.chain import Chain

_WORDS: Final = {"holds": "ok"}
_WORD: Final = 10
_NAME: Final = 10


class WhyScreen(ListPlace):
    """One routine with all its links, or every routine with its first broken one."""

    headed: ClassVar[str] = "WHY"
    copies: ClassVar[bool] = True
    deeds: ClassVar[frozenset[str]] = frozenset({"why", "run_now", "cancel_run", "pause", "decide", "halt"})

    @property
    def subject(self) -> Subject:
        """The routine that is explained."""
        return Subject(self.about or self.chosen.partition(":")[2] or None)

    @property
    def to_copy(self) -> tuple[str, str] | None:
        """The command that mends it."""
        name = self.subject.routine
        chain = next((chain for chain in self.found or () if chain.routine == name), None)
        if chain is None or chain.end.fix is None:
            return None
        return self.minion.called(chain.end.fix), "What mends it is"

    def read(self, reading: Reading) -> list[Chain]:
        """The links of the routine, or of all."""
        from minion.why.explained import chains_of

        try:
            return understood(lambda: chains_of(reading.home, reading.config, self.about, now=reading.clock()))
        except NotFound as refusal:
            if self.about is None and refusal.code == "no_store":
                return []
            raise

    def fill(self, table: Table) -> None:
        """Each link up to the first that does not hold, and what mends that one."""
        chains: Sequence[Chain] = self.found
        if self.about is not None:
            table.headline(f"WHY {self.about}")
            table.lines(_whole(chains[0], table.listing.room, self.minion.called))
            return
        fitting = [chain for chain in chains if self.matches(chain.routine, chain.sentence, chain.end.state)]
        said = self.amount(len(fitting), len(chains), "the first broken link of each routine")
        table.headline("WHY", said if chains else "")
        entries = [entry for chain in fitting for entry in _short(chain, table.listing.room, self.minion.called)]
        table.lines(entries or self.nothing("No routines yet: minion routine new --list"))

    def on_listing_opened(self, _: Listing.Opened) -> None:
        """Show all links of the chosen routine."""
        if self.about is None and self.subject.routine is not None:
            self.minion.show_why(self.subject.routine)


def _sign(state: str) -> Content:
    word = _WORDS.get(state, state)
    return text(f"{MARKS.get(word, ('·', ''))[0]} {word:<{_WORD - 2}}", colour_of(word))


def _short(chain: Chain, width: int, called: Callable[[str], str]) -> list[Entry]:
    line = _sign(chain.end.state) + text(f" {chain.routine}", "bold") + text(f"  {chain.sentence}")
    found = folded(line, width, key=f"routine:{chain.routine}", indent=_WORD + 1)
    if chain.end.state == "broken" and chain.end.fix is not None:
        found += _hint(called(chain.end.fix), width, before=_WORD + 1)
    return found


def _whole(chain: Chain, width: int, called: Callable[[str], str]) -> list[Entry]:
    found = [Entry(still(Content()))]
    for link in chain.links:
        line = _sign(link.state) + text(f" {link.name:<{_NAME}}", "bold") + text(link.words)
        found += folded(line, width, key=f"link:{link.name}", indent=_WORD + _NAME + 1)
    found += [Entry(still(Content())), *folded(text(chain.sentence, "bold"), width)]
    if chain.end.fix is not None:
        found += _hint(called(chain.end.fix), width, "   y copies it")
    return found


def _hint(fix: str, width: int, after: str = "", *, before: int = 0) -> list[Entry]:
    says = text(f"{'':{before}}hint: ", DIM) + text(fix, "$text-accent") + text(after, DIM)
    return folded(says, width, indent=before + 2)
