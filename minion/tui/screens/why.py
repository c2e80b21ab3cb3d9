"""Why a routine ran or did not: its links from due to delivered, and what mends the first broken one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual.app import ComposeResult
from textual.content import Content

from minion.spelling import MARKS
from minion.tui.deeds import Subject
from minion.tui.lines import DIM, colour_of, text, titled
from minion.tui.place import Place
from minion.tui.reading import Reading
from minion.tui.widgets.listing import Entry, Listing, still

if TYPE_CHECKING:
    from minion.why.chain import Chain

_WORDS: Final = {"holds": "ok"}


class WhyScreen(Place):
    """One routine with all its links, or every routine with its first broken one."""

    deeds: ClassVar[frozenset[str]] = frozenset({"why", "run_now", "cancel_run", "pause", "decide", "halt"})

    def __init__(self, routine: str | None = None) -> None:
        super().__init__()
        self._about = routine

    def body(self) -> ComposeResult:
        """The links."""
        yield Listing(id="list")

    @property
    def subject(self) -> Subject:
        """The routine that is explained."""
        key = self.query_one(Listing).chosen or ""
        return Subject(self._about or key.partition(":")[2] or None)

    def read(self, reading: Reading) -> list[Chain]:
        """The links of the routine, or of all."""
        from minion.why.explained import chains_of

        return chains_of(reading.home, reading.config, self._about, now=reading.clock())

    def show(self) -> None:
        """Each link up to the first that does not hold, and what mends that one."""
        if self.refusal is not None:
            return self.query_one(Listing).show(refused(self.refusal))
        chains: Sequence[Chain] = self.found
        entries: list[Entry] = []
        if self._about is None:
            entries.append(Entry(lambda width: titled("WHY", width, "the first broken link of each routine")))
            for chain in chains:
                if self.matches(chain.routine, chain.sentence):
                    entries += _short(chain)
            if not chains:
                entries.append(Entry(still(text("No routines yet: minion routine new --list", DIM))))
        else:
            entries += _whole(chains[0])
        self.query_one(Listing).show(entries)
        return None

    def on_listing_opened(self, event: Listing.Opened) -> None:
        """Show all links of the chosen routine."""
        if self._about is None and self.subject.routine is not None:
            self.minion.show_why(event.key.partition(":")[2])


def refused(refusal: Any) -> list[Entry]:
    """What stands in a list's place when it could not be read."""
    return [
        Entry(still(text("✗ ", "$text-error") + text(refusal.sentence))),
        Entry(still(text(f"  hint: {refusal.hint}", DIM))),
    ]


def _sign(state: str) -> Content:
    word = _WORDS.get(state, state)
    return text(f"{MARKS.get(word, ('·', ''))[0]} {word:<8}", colour_of(word))


def _short(chain: Chain) -> list[Entry]:
    line = _sign(chain.end.state) + text(f" {chain.routine}", "bold") + text(f"  {chain.sentence}")
    found = [Entry(still(line), f"routine:{chain.routine}")]
    if chain.end.state == "broken" and chain.end.fix is not None:
        found.append(Entry(still(text(f"{'':11}hint: {chain.end.fix}", DIM))))
    return found


def _whole(chain: Chain) -> list[Entry]:
    found = [Entry(lambda width: titled(f"WHY {chain.routine}", width))]
    found += [Entry(still(text("")))]
    for link in chain.links:
        line = _sign(link.state) + text(f" {link.name:<9} ", "bold") + text(link.words)
        found.append(Entry(still(line), f"link:{link.name}"))
    found += [Entry(still(text(""))), Entry(still(text(chain.sentence, "bold")))]
    if chain.end.fix is not None:
        found.append(Entry(still(text(f"hint: {chain.end.fix}", "$text-accent"))))
    return found
