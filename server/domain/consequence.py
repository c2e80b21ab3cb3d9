"""What follows from a decision, in words: what changes with it, what may be done then that may not be done today.

Both are read from the evidence alone, which the decision's digest covers: an answer is one to these words too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from server.domain.legible import one_line

Urgency = Literal["now", "soon", "later"]
# What each kind of permission is called, one and several; others of a skill's header let nobody do more.
PERMISSIONS: Final[Mapping[str, tuple[str, str]]] = {
    "hosts": ("host", "hosts"), "secrets": ("secret", "secrets"), "effects": ("effect", "effects"),
    "tools": ("tool", "tools"), "requires": ("skill it needs", "skills it needs"),
}  # fmt: skip
NONE: Final = "none"
_STATED: Final = "as its proposer says"
SKILL: Final = "skill:"
_HEADINGS: Final[Mapping[Urgency, str]] = {
    "now": "Work is held until you answer", "soon": "Lacked often, or soon too late",
    "later": "When there is time",
}  # fmt: skip
_LONGEST: Final = 400
_SHA: Final = "sha256:"
# So much of a digest tells it from others to the eye; the whole of it stands in the evidence.
_SHORT: Final = len(_SHA) + 8


def what_changes(kind: str, evidence: Mapping[str, Any]) -> list[str]:
    """What is otherwise once a decision is approved, one thing a line; nothing for a kind that has no words."""
    if kind == "gap":
        return _gap_changes(evidence)
    return _hold_changes(evidence) if kind == "hold" else []


def permissions(kind: str, evidence: Mapping[str, Any]) -> list[str]:
    """What may be done then that may not be done today: `+1 host: …`, `none`, or that it is unknown.

    What HQ read itself (`permissions`) stands apart from what somebody says (`needs`); what nobody said is never
    `none`.
    """
    read, stated = evidence.get("permissions"), evidence.get("needs")
    lines = _in_words(read) if isinstance(read, Mapping) else []
    unknown = _texts(evidence.get("not_compared"))
    if unknown:
        lines.append(f"not known for {', '.join(unknown)}: HQ has nothing to compare")
    if isinstance(stated, Mapping):
        more = {name: {"added": names} for name, names in stated.items()}
        lines += [f"{line}, {_STATED}" for line in _in_words(more)]
    if lines or isinstance(read, Mapping):
        return lines or [NONE]
    if isinstance(stated, Mapping):
        return [f"{NONE}, {_STATED}"]
    return ["not said: whoever proposes it named none"] if kind == "gap" else ["not said"]


def joined_deltas(deltas: Sequence[Mapping[str, Mapping[str, Sequence[str]]]]) -> dict[str, dict[str, list[str]]]:
    """Several deltas as one, with only the kinds that let somebody do more or less."""
    found: dict[str, dict[str, list[str]]] = {}
    for kind in PERMISSIONS:
        parts = [delta[kind] for delta in deltas if kind in delta]
        added = sorted({name for part in parts for name in part["added"]})
        removed = sorted({name for part in parts for name in part["removed"]} - set(added))
        if added or removed:
            found[kind] = {"added": added, "removed": removed}
    return found


def changed_parts(about: Any) -> dict[str, tuple[str | None, str | None]]:
    """What a minion says that changed, by part: what it was and what it is; None where it was or is not there.

    It is the minion's `about.changes`, `{part: {"from": …, "to": …}}`.
    """
    said = about.get("changes") if isinstance(about, Mapping) else None
    if not isinstance(said, Mapping):
        return {}
    return {
        str(part): (_text(change.get("from")), _text(change.get("to")))
        for part, change in said.items() if isinstance(change, Mapping)
    }  # fmt: skip


def urgency_of(kind: str, evidence: Mapping[str, Any], expires_at: str | None) -> Urgency:
    """How soon somebody should look: a hold keeps a routine from running; a gap may be met again and again."""
    if kind in ("hold", "gate"):
        return "now"
    return "soon" if expires_at is not None or evidence.get("priority") == "high" else "later"


def by_urgency(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Shown decisions under headings, the urgent ones first; each group in the order in which they came."""
    groups = [(words, [said for said in found if said["urgency"] == level]) for level, words in _HEADINGS.items()]
    return [(words, inside) for words, inside in groups if inside]


def _gap_changes(evidence: Mapping[str, Any]) -> list[str]:
    line = "what is proposed is for its proposer to provide: HQ adds nothing by itself"
    skill = evidence.get("skill")
    if isinstance(skill, Mapping):
        before, digest = skill.get("before"), _shortened(_text(skill.get("digest")))
        instead = f", in place of version {before}" if before else ""
        line = f"the skill {skill.get('name')}, version {skill.get('version')} ({digest}), is the answer{instead}"
    return [
        one_line(line, _LONGEST),
        f"{evidence.get('requested_code')} counts as approved; it closes with the first run that passes with it",
    ]


def _hold_changes(evidence: Mapping[str, Any]) -> list[str]:
    routine, minion = evidence.get("routine"), evidence.get("minion")
    lines = [f"{routine} runs on {minion} with what changed; a slot that is held runs too"]
    for part, (before, after) in sorted(changed_parts(evidence.get("about")).items()):
        name = f"the skill {part.removeprefix(SKILL)}" if part.startswith(SKILL) else part
        was, now = (_shortened(each) for each in (before, after))
        lines.append(one_line(f"{name}: {was} → {now}", _LONGEST))
    return lines if len(lines) > 1 else [*lines, "what it was before, its minion does not say"]


def _in_words(said: Mapping[Any, Any]) -> list[str]:
    lines = []
    for kind, (one, several) in PERMISSIONS.items():
        delta = said.get(kind)
        for sign, key in (("+", "added"), ("-", "removed")):
            names = _texts(delta.get(key)) if isinstance(delta, Mapping) else []
            if names:
                noun = one if len(names) == 1 else several
                lines.append(one_line(f"{sign}{len(names)} {noun}: {', '.join(names)}", _LONGEST))
    return lines


def _texts(said: Any) -> list[str]:
    return [str(each) for each in said] if isinstance(said, list) else []


def _text(said: Any) -> str | None:
    return None if said is None else str(said)


def _shortened(text: str | None) -> str:
    if text is None:
        return "none"
    return f"{text[:_SHORT]}…" if text.startswith(_SHA) and len(text) > _SHORT else text
