"""Chooses the skills that a person's words ask for: by name, by the ready templates, by what own skills say.

Deterministic and explained: every choice names the words that made it, and what else would fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

SEND: Final = "send-to-slack"
# Below it the words have hardly anything in common with what a template or skill is for.
_ENOUGH: Final = 0.6
# A word of a skill's name says what the skill is; one of its description may say anything.
_DESCRIBED: Final = 0.3
_MOST_OTHERS: Final = 3
_LONGEST_NAME: Final = 40
_NAME_WORDS: Final = 4

_WORD: Final = re.compile(r"[^\W_]+(?:-[^\W_]+)*", re.UNICODE)
_COMMON: Final = frozenset(
    """a about after all also an and any are as at be before by do each every for from get give has have how i in
    into is it its last let list make me my new no not of on one or our out over please run say shall show so some
    tell that the their them then they this those to up us use want was we what when where which who will with
    write you your""".split()  # noqa: SIM905 - a list of words reads better than a list of quotes
)
_DELIVERING: Final = frozenset(
    """announce channel deliver notify post posted posting send sending sent share sharing slack""".split()  # noqa: SIM905
)
_REFUSING: Final = frozenset(("dont", "never", "no", "not", "without"))
# So many words before one that asks to send, a refusal still means it; the doubt goes to not sending.
_REACH: Final = 4
# Ways of telling people that somebody may ask for and no skill here can do.
_ELSEWHERE: Final = frozenset(("discord", "email", "e-mail", "mail", "sms", "telegram", "whatsapp"))


@dataclass(frozen=True, slots=True)
class Offer:
    """What could be chosen: a template by its words, or one of the home's own skills by its name and description.

    One of its `keywords` is enough to choose a template; of the words in `also` it takes two.
    """

    name: str
    pipeline: tuple[str, ...]
    keywords: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    description: str = ""

    @property
    def is_template(self) -> bool:
        """Whether it is a ready template, and no skill."""
        return bool(self.keywords)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for some words: the pipeline (empty: the words become a prompt), and why.

    `chosen` is the offer that was taken, None when skills were named outright or nothing fits; `because` the
    words that spoke for it; `others` what else would fit, or comes nearest when nothing does, best first;
    `unmet` the ways of telling people that were asked for and are not there; `unused` the
    words that mean something and chose nothing; `name` a slug from the words.
    """

    pipeline: tuple[str, ...]
    chosen: Offer | None
    because: tuple[str, ...]
    others: tuple[Offer, ...]
    unmet: tuple[str, ...]
    unused: tuple[str, ...]
    name: str


def choose(task: str, offers: Sequence[Offer], skills: Iterable[str]) -> Choice:
    """The skills that `task` asks for. `skills` are all skill names there are; `offers` in order of preference.

    Skills named outright are taken in the order named. Otherwise the offer whose words fit best, and the
    message to Slack only when the task asks to send: nothing leaves the machine that nobody asked for.
    """
    words = _words(task)
    name = _name_for(words)
    unmet = tuple(dict.fromkeys(word for word in words if word in _ELSEWHERE))
    known = set(skills)
    named = tuple(dict.fromkeys(word for word in words if "-" in word and word in known))
    if named and set(named) != {SEND}:
        return Choice(named, None, named, (), unmet, _unused(words, named), name)
    scored = _scored(words, offers)
    fitting: list[tuple[Offer, tuple[str, ...]]]
    fitting = [(offer, (offer.name,)) for offer in offers if offer.is_template and offer.name in words]
    fitting += [(offer, because) for score, offer, because in scored if score >= _ENOUGH]
    if not fitting:
        near = tuple(offer for score, offer, _ in scored if score)[:_MOST_OTHERS]
        return Choice((), None, (), near, unmet, _unused(words, ()), name)
    chosen, because = fitting[0]
    others = tuple(offer for offer, _ in fitting if offer is not chosen)[:_MOST_OTHERS]
    work = tuple(skill for skill in chosen.pipeline if skill != SEND)
    sends = SEND in known and _asks_to_send(words)
    unused = _unused(words, because)
    return Choice((*work, SEND) if sends else work, chosen, because, others, unmet, unused, name)


def _unused(words: Sequence[str], because: Sequence[str]) -> tuple[str, ...]:
    used = {part for phrase in because for part in phrase.split(" ")}
    silent = used | _COMMON | _DELIVERING | _ELSEWHERE | _REFUSING | {"commit", "commits", "team", "report"}
    return tuple(dict.fromkeys(word for word in words if word not in silent))


def _scored(words: Sequence[str], offers: Sequence[Offer]) -> list[tuple[float, Offer, tuple[str, ...]]]:
    """The offers with how much of them the words say, best first; of equal ones the earlier offer first."""
    shared = _shares(offers)
    stems = [_stem(word) for word in words]
    found = []
    for offer in offers:
        score, because = 0.0, []
        for phrase, weight in _phrases(offer).items():
            at = _at(phrase, stems)
            if at is not None:
                score += weight * len(phrase) / (shared[phrase] if weight == 1 else 1)
                because.append(" ".join(words[at : at + len(phrase)]))
        found.append((score, offer, tuple(dict.fromkeys(because))))
    return sorted(found, key=lambda item: -item[0])


def _phrases(offer: Offer) -> Mapping[tuple[str, ...], float]:
    """The phrases that speak for an offer, as stems, with the weight of each."""
    said = {_stems(word): _DESCRIBED for word in offer.also} | {_stems(word): 1.0 for word in offer.keywords}
    if not offer.is_template:
        described = [word for word in _words(offer.description) if word not in _COMMON]
        said |= {(_stem(word),): _DESCRIBED for word in described}
        said |= {(_stem(word),): 1.0 for word in offer.name.split("-") if word not in _COMMON}
    return {phrase: weight for phrase, weight in said.items() if phrase and not _DELIVERING & set(phrase)}


def _shares(offers: Sequence[Offer]) -> Mapping[tuple[str, ...], int]:
    """In how many offers each phrase stands: what many say tells little."""
    shares: dict[tuple[str, ...], int] = {}
    for offer in offers:
        for phrase in _phrases(offer):
            shares[phrase] = shares.get(phrase, 0) + 1
    return shares


def _asks_to_send(words: Sequence[str]) -> bool:
    asked = [place for place, word in enumerate(words) if word in _DELIVERING]
    if not asked or (_ELSEWHERE & set(words) and "slack" not in words):
        return False  # who asks for an e-mail does not ask for a message to everybody
    return not any(_REFUSING & set(words[max(0, place - _REACH) : place]) for place in asked)


def _name_for(words: Sequence[str]) -> str:
    """A slug from the words that mean something; `routine` when none do."""
    left_out = _COMMON | _DELIVERING | _ELSEWHERE | _REFUSING
    telling = [word for word in words if word not in left_out and word.isascii()]
    slug = re.sub(r"[^a-z0-9]+", "-", "-".join(telling[:_NAME_WORDS]))[:_LONGEST_NAME].strip("-")
    return slug or "routine"


def _words(text: str) -> list[str]:
    plain = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return _WORD.findall(re.sub(r"'s\b|'", "", plain))


def _stems(text: str) -> tuple[str, ...]:
    return tuple(_stem(word) for word in _words(text))


def _stem(word: str) -> str:
    """A word without its plural: `commits` and `commit` are one, `this` and `status` stay."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _at(phrase: tuple[str, ...], stems: Sequence[str]) -> int | None:
    places = range(len(stems) - len(phrase) + 1)
    return next((at for at in places if tuple(stems[at : at + len(phrase)]) == phrase), None)
