"""What HQ asks minions just now, and what they answer: in memory, for as long as somebody waits for it.

HQ never calls a minion: a question goes with what the minion hears next, and is worth nothing to the next HQ.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from server.contract.joining import Question

# So long an answer is waited for.
WITHIN_S: Final = 3.0
# A minion that asked HQ so long ago asks again at once: it is only just taking in what it heard.
_AT_ONCE_S: Final = 2.0
# So many wait for one minion at most: whoever asks beyond that is told at once that it did not answer.
_MOST: Final = 20


@dataclass(slots=True)
class Asked:
    """A question on its way, and who waits for the answer to it."""

    minion: str
    question: Question
    answer: asyncio.Future[Mapping[str, Any]]
    handed_out: bool = False


@dataclass(slots=True)
class Questions:
    """The questions that wait; those of one process, on one event loop."""

    _waiting: dict[str, Asked] = field(default_factory=dict)
    # How many polls of a minion are open, and when its last one was answered, in seconds of the loop's clock.
    _polls: Counter[str] = field(default_factory=Counter)
    _heard: dict[str, float] = field(default_factory=dict)
    _bells: list[Callable[[], None]] = field(default_factory=list)
    # Another process than this one asked others: an answer that comes late is to none of ours.
    _name: str = field(default_factory=lambda: os.urandom(6).hex())
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def rings(self, bell: Callable[[], None]) -> None:
        """Have a bell rung whenever something is asked."""
        self._bells.append(bell)

    @contextmanager
    def listening(self, minion_id: str) -> Iterator[None]:
        """Know that a minion waits for news, until the block ends."""
        self._polls[minion_id] += 1
        try:
            yield
        finally:
            self._polls[minion_id] -= 1
            self._heard[minion_id] = asyncio.get_running_loop().time()

    def listens(self, minion_id: str) -> bool:
        """Whether a minion hears at once what it is asked."""
        if self._polls[minion_id] > 0:
            return True
        heard = self._heard.get(minion_id)
        return heard is not None and asyncio.get_running_loop().time() - heard < _AT_ONCE_S

    async def why(
        self, minion_id: str, routine: str, *, at: str | None = None, within_s: float = WITHIN_S
    ) -> Mapping[str, Any] | None:
        """What a minion says of why a routine runs or does not, today or at a time; None where it says nothing."""
        if sum(each.minion == minion_id for each in self._waiting.values()) >= _MOST:
            return None
        key = f"q_{self._name}_{next(self._numbers)}"
        question = Question(id=key, kind="why", routine=routine, at=at)
        asked = Asked(minion_id, question, asyncio.get_running_loop().create_future())
        self._waiting[key] = asked
        try:
            for bell in tuple(self._bells):
                bell()
            async with asyncio.timeout(within_s):
                return await asked.answer
        except TimeoutError:
            return None
        finally:
            del self._waiting[key]

    def take(self, minion_id: str) -> list[dict[str, Any]]:
        """What a minion is to be asked, each question once: who did not hear it is not asked again.

        Only one that goes by all that HQ has for it: else it would answer for what was.
        """
        found = [each for each in self._waiting.values() if each.minion == minion_id and not each.handed_out]
        for each in found:
            each.handed_out = True
        return [each.question.model_dump(mode="json") for each in found]

    def answered(self, minion_id: str, answers: Mapping[str, Mapping[str, Any]]) -> int:
        """Hand on what a minion answers to its own questions that still wait; how many those were."""
        number = 0
        for key, answer in answers.items():
            asked = self._waiting.get(key)
            if asked is not None and asked.minion == minion_id and not asked.answer.done():
                asked.answer.set_result(answer)
                number += 1
        return number
