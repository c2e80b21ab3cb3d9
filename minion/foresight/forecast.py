"""What the next runs of a routine are likely to cost and take: as the earlier ones did, else as it is assumed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from minion.config import Config, Home
from minion.daemon.question import ask_child
from minion.engines.registry import API_KEY, has_model, payer_of
from minion.foresight.prospect import Prospect, Wanted, prospect
from minion.foresight.rehearsed import begun
from minion.runner.rehearsal import branches_of
from minion.secrets_file import secret_names
from minion.spelling import spell_dollars
from minion.store.foresight import PastRun, completed_runs
from minion.store.local_db import read_only
from server.contract.digest import canonical_json, instant
from server.contract.estimates import (
    CHARACTERS,
    MANY_TURNS,
    READ,
    SECONDS,
    TURNS,
    WRITTEN,
    Due,
    Task,
    assumed,
    due_in_a_month,
    percentile,
    schedules_of,
    tokens_in,
)
from server.contract.prices import Price, as_of, price_of
from server.contract.refusals import Refused

_CHILD: Final = "minion.runner.counting"
_COUNT_S: Final = 60.0
_HALF: Final = 0.5
_MOST: Final = 0.95


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run costs in US dollars and takes in seconds, half of them at most (`p50`) and 95 of 100 (`p95`)."""

    p50_dollars: float
    p95_dollars: float
    p50_s: float | None
    p95_s: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """A routine's forecast. `basis`: `runs` (`runs` of them counted), `assumed`, or `none` where nothing is known.

    `first_tokens` are those of a session's first request, `counted` by the API or estimated; `others` says which
    earlier runs were left out, and why. `due` are None for a routine without a schedule.
    """

    routine: str
    engine: str
    model: str | None
    basis: str
    runs: int
    figures: Figures | None
    capped: bool
    first_tokens: int | None
    counted: bool
    others: str | None
    due: Due | None
    paused: bool
    limit: float
    config: Config

    @property
    def month_dollars(self) -> tuple[float, float] | None:
        """What the runs of the next 30 days cost (US dollars): the usual, and if all were costly."""
        if self.due is None or self.figures is None:
            return None
        return self.due.month * self.figures.p50_dollars, self.due.month * self.figures.p95_dollars

    @property
    def in_a_line(self) -> str:
        """The usual run and month, who pays, and what that rests on."""
        figures, month, due = self.figures, self.month_dollars, self.due
        if figures is None or not has_model(self.engine):
            return "costs nothing: no model"
        each = f"about {spell_dollars(figures.p50_dollars)} a run"
        if due is not None and month is not None:
            each += f", {spell_dollars(month[0])} a month ({due.month} run{'' if due.month == 1 else 's'})"
        rests = f"as {self.runs} of its runs did" if self.basis == "runs" else "assumed"
        whose = payer_of(self.engine).partition(",")[0]
        return f"{each}; billed to {whose}; {rests}: minion forecast {self.routine}"

    @property
    def over(self) -> list[str]:
        """Which of the minion's caps the usual runs of one day, or of 30, would pass, as sentences."""
        if self.due is None or self.figures is None:
            return []
        each, config = self.figures.p50_dollars, self.config
        spans = (
            ("dollars_per_day", config.dollars_per_day, self.due.busiest_day, "busiest day's"),
            ("dollars_per_month", config.dollars_per_month, self.due.month, "month's"),
        )
        return [
            f"The {words} {runs} runs would cost ${runs * each:,.2f}, over {name} (${cap:g}): not all would start."
            for name, cap, runs, words in spans
            if cap is not None and runs * each > cap
        ]

    def as_data(self) -> dict[str, Any]:
        """As JSON data."""
        figures, month = self.figures, self.month_dollars
        return {
            "routine": self.routine, "engine": self.engine, "paid_by": payer_of(self.engine), "model": self.model,
            "basis": self.basis, "runs": self.runs, "left_out": self.others,
            "dollars": None if figures is None else {"p50": figures.p50_dollars, "p95": figures.p95_dollars},
            "seconds": None if figures is None or figures.p50_s is None else {
                "p50": figures.p50_s, "p95": figures.p95_s,
            },
            "limit_dollars": self.limit, "capped": self.capped,
            "assumptions": assumptions(self) if self.basis == "assumed" else None,
            "month": None if self.due is None else {
                "runs": self.due.month, "busiest_day": self.due.busiest_day,
                "dollars": None if month is None else {"p50": round(month[0], 6), "p95": round(month[1], 6)},
                "dollars_per_day": self.config.dollars_per_day, "dollars_per_month": self.config.dollars_per_month,
                "over": self.over, "paused": self.paused,
            },
        }  # fmt: skip


def assumptions(forecast: Forecast) -> dict[str, Any]:
    """What a figure rests on that no run has shown."""
    return {
        "first_request_tokens": forecast.first_tokens, "counted_by_the_api": forecast.counted,
        "characters_per_token": None if forecast.counted else CHARACTERS,
        "turns_per_task": {"p50": TURNS, "p95": MANY_TURNS}, "tokens_written_per_turn": WRITTEN,
        "tokens_read_per_turn": READ, "seconds_per_turn": SECONDS, "prices_as_of": as_of(),
    }  # fmt: skip


def forecast(home: Home, text: str, wanted: Wanted, *, now: datetime, count: bool = False) -> Forecast:
    """What the next runs of a routine cost and take; with `count` the API counts their first request, in a child.

    Raises a `Refusal`: for no such routine, a model without a price, and `Refused` when it cannot be counted.
    """
    with prospect(home, text, wanted, now=now) as found:
        order = found.order
        with read_only(home.store) as db:
            earlier = completed_runs(db, found.routine.id)
        alike, others = _alike(earlier, order.engine, found.lock["model"])
        figures, capped, tokens = _of_runs(alike), False, None
        if has_model(order.engine) and figures is None:
            figures, capped, tokens = _assumed(home, found, now, count=count)
        elif not has_model(order.engine) and figures is None:
            figures = Figures(0.0, 0.0, None, None)
        assert figures is not None  # noqa: S101 - of runs, assumed, or nothing
        if figures.p95_dollars > order.limits.dollars:  # earlier runs may have had more
            capped, most = True, order.limits.dollars
            figures = replace(
                figures, p50_dollars=min(figures.p50_dollars, most), p95_dollars=min(figures.p95_dollars, most)
            )
        document = found.routine.document
        schedules = schedules_of(document, found.config.timezone)
        return Forecast(
            found.routine.name, order.engine, found.lock["model"] if has_model(order.engine) else None,
            "runs" if alike else "assumed" if has_model(order.engine) else "none", len(alike), figures, capped,
            tokens, count and tokens is not None, others, due_in_a_month(schedules, now) if schedules else None,
            document["paused"], order.limits.dollars, found.config,
        )  # fmt: skip


def _alike(earlier: Sequence[PastRun], engine: str, model: str) -> tuple[list[PastRun], str | None]:
    """The earlier runs that were made as the next one will be, and what is said of the others."""
    ours = has_model(engine)
    alike = [run for run in earlier if run.engine == engine and (not ours or run.model == model)]
    others = [run for run in earlier if run not in alike]
    if not others:
        return alike, None
    was = others[0]
    what = f"the engine was {was.engine}" if was.engine != engine else f"the model was {was.model}"
    return alike, f"{len(others)} earlier run{'s' if len(others) > 1 else ''} left out: {what}"


def _of_runs(runs: Sequence[PastRun]) -> Figures | None:
    if not runs:
        return None
    dollars, seconds = [run.dollars for run in runs], [run.seconds for run in runs]
    return Figures(
        percentile(dollars, _HALF), percentile(dollars, _MOST), percentile(seconds, _HALF),
        percentile(seconds, _MOST),
    )  # fmt: skip


def _assumed(
    home: Home, found: Prospect, now: datetime, *, count: bool
) -> tuple[Figures, bool, int]:
    """Figures from assumptions, whether the run's limits cap them, and the tokens of the first request."""
    order, own = found.order, found.config.prices
    branches = asyncio.run(branches_of(order)) if count else {}
    call = begun(home, found, branches, now=now)
    first = _counted(home, found, branches, now) if count else tokens_in(
        call.system, canonical_json([dict(tool) for tool in call.tools]), *call.told
    )
    names = [skill.model or order.model for skill in order.skills] or [order.model]
    sizes = [first, *(tokens_in(text) for text in call.later)]
    tasks = [Task(size, _price(name, own)) for size, name in zip(sizes, names, strict=True)]
    usual, costly = (assumed(tasks, order.limits, turns=turns) for turns in (TURNS, MANY_TURNS))
    figures = Figures(usual.dollars, costly.dollars, usual.seconds, costly.seconds)
    return figures, usual.capped or costly.capped, first


def _price(model: str, own: Mapping[str, Any]) -> Price:
    price = price_of(model, own)
    if price is None:
        says = f"The model {model[:80]!r} has no price here, so that nobody can say what it costs."
        raise Refused("unknown_model", says, hint="write its price into `prices` of minion.json")
    return price


def _counted(home: Home, found: Prospect, branches: Mapping[str, str], now: datetime) -> int:
    """The tokens of the first request as the API counts them. Raises `Refused`."""
    if API_KEY not in secret_names(home.secrets_file):
        says = f"The API counts tokens for a key only, and there is no secret {API_KEY}."
        raise Refused("not_counted", says, hint=f"minion secret set {API_KEY}, or leave --count out")
    asked = {"now": instant(now), "branches": dict(branches)}
    said = asyncio.run(ask_child(_CHILD, found.order, asked, patience_s=_COUNT_S))
    if not isinstance(said.get("tokens"), int):
        why = str(said.get("why") or "The API gave no answer.").rstrip(".")
        says = f"The tokens could not be counted: {why}."
        raise Refused("not_counted", says, hint="leave --count out: then they are estimated")
    return int(said["tokens"])
