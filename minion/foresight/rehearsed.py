"""What `minion run --dry-run` shows: how a run would begin, in what, for how much, and what would refuse it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from minion.config import Home
from minion.engines.registry import has_model, payer_of
from minion.foresight.prospect import Prospect, Wanted, prospect
from minion.runner.rehearsal import FirstCall, branches_of, first_call, places
from minion.secrets_file import read_secrets
from minion.wire import Order
from server.contract.digest import instant
from server.contract.prices import as_of, price_of
from server.contract.redaction import Redactor
from server.contract.refusals import Refusal


def rehearsed(home: Home, text: str, wanted: Wanted, *, now: datetime) -> dict[str, Any]:
    """How the run would go that `minion run` would make now; no model is called, and nothing is kept.

    Raises a `Refusal` where there is nothing to show: no such routine, a document that is none.
    """
    with prospect(home, text, wanted, now=now) as found:
        order = found.order
        branches = asyncio.run(branches_of(order))
        ours = has_model(order.engine)
        prompt = _prompt(begun(home, found, branches, now=now), order) if ours else None
        return {
            "routine": found.routine.name,
            "would_run": not found.against,
            "against": [_refusal(each) for each in found.against],
            "engine": order.engine, "paid_by": payer_of(order.engine),
            "model": _models(found) if ours else None,
            "steps": [code for block in order.blocks for code in block.steps],
            "prompt": prompt, "scripts": None if ours else _scripts(order),
            "envelope": _envelope(order, branches),
            "effects": list(order.effects),
            "expect": [dict(each) for each in order.routine.get("expect") or ()],
            "budget": _budget(found),
        }  # fmt: skip


def begun(home: Home, found: Prospect, branches: Mapping[str, str], *, now: datetime) -> FirstCall:
    """The first request of the run's session, without the home's secrets."""
    try:
        secrets = read_secrets(home.secrets_file)
    except Refusal:  # said of the run already; what cannot be read cannot be in its prompt either
        secrets = {}
    redactor, order = Redactor(secrets.values()), found.order
    real = str(home.runs / order.run_id)

    def redact(value: Any, /, *, shapes: bool = True) -> Any:
        said = redactor.data(value, shapes=shapes)
        return said.replace(order.run_dir, real) if isinstance(said, str) else said

    return first_call(order, now=instant(now), branches=branches, redact=redact)


def _prompt(call: FirstCall, order: Order) -> dict[str, Any]:
    """What the model is told and offered; of each skill, what it may use of that."""
    offered = [{"name": tool["name"], "description": tool.get("description", "")} for tool in call.tools]
    return {
        "system": call.system,
        "told": list(call.told),
        "later": list(call.later),
        "tools": offered,
        "skills": [
            {"skill": skill.name, "code": skill.code, "may_use": list(skill.allowed_tools) or None}
            for skill in order.skills
        ],
    }


def _scripts(order: Order) -> list[dict[str, Any]]:
    """What is executed in place of a prompt, by skill; None where there is nothing to execute."""
    skills = (*order.skills, order.report_skill)
    return [
        {
            "skill": skill.name, "code": skill.code, "script": skill.script, "bundled_and_unchanged": skill.pinned,
            "bytes": (Path(skill.path) / skill.script).stat().st_size if skill.script is not None else None,
        }
        for skill in skills
    ]  # fmt: skip


def _models(found: Prospect) -> dict[str, Any]:
    price = price_of(found.models.usual, found.config.prices)
    rates = None if price is None else asdict(price.rates)
    return {
        "name": found.models.usual, "of_skills": dict(found.models.of_skills), "dollars_per_million_tokens": rates,
        "prices_as_of": as_of(), "own_price": found.models.usual in found.config.prices,
    }  # fmt: skip


def _envelope(order: Order, branches: Mapping[str, str]) -> dict[str, Any]:
    """What the session's programs see: folders by whether they may write them, and the network."""
    environment = order.routine.get("environment") or {}
    skills = [f"/skills/{skill.name}" for skill in (*order.skills, order.report_skill)]
    seen = places(order, branches)
    made = ["/environment"] if environment.get("setup") else []
    sandboxed = order.sandbox != "none"
    return {
        "sandbox": "bubblewrap" if sandboxed else "none",
        "network": environment.get("network", "none"),
        "repositories": [
            {"name": place.name, "url": item.url, "branch": place.branch}
            for item, place in zip(order.repositories, seen, strict=True)
        ],
        "writable": [*(place.path for place in seen), "/scratch"] if sandboxed else None,
        "read_only": [*(place.history for place in seen), *skills, *made] if sandboxed else None,
        "setup": environment.get("setup"),
        "variables": sorted(environment.get("env") or {}),
    }


def _budget(found: Prospect) -> dict[str, Any]:
    """The caps of the run, and what the minion has left of its day and month."""
    limits, config = found.order.limits, found.config
    run: dict[str, Any] = {"wall_clock_s": limits.wall_clock_s}
    if has_model(found.order.engine):
        run |= {"turns": limits.turns, "tokens": limits.tokens, "dollars": limits.dollars}
    caps = {"day": config.dollars_per_day, "month": config.dollars_per_month}
    spans = {
        span: {
            "cap": caps[span], "spent": round(spent, 6),
            "left": None if (cap := caps[span]) is None else round(max(0.0, cap - spent), 6),
        }
        for span, spent in zip(caps, found.spent, strict=True)
    }  # fmt: skip
    return {"run": run, **spans}


def _refusal(refusal: Refusal) -> dict[str, str]:
    return {"code": refusal.code, "says": refusal.sentence, "hint": refusal.hint}
