"""Pydantic's findings on a document, said in plain words: the field's path, what is wrong, and what to do."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

_LONGEST_SHOWN = 60

# Per pydantic error type: our code, and the shape the value should have.
_SHAPES: dict[str, tuple[str, str]] = {
    "string_type": ("wrong_type", "text"),
    "int_type": ("wrong_type", "a whole number"),
    "int_from_float": ("wrong_type", "a whole number"),
    "int_parsing_size": ("wrong_type", "a whole number of ordinary size"),
    "float_type": ("wrong_type", "a number"),
    "finite_number": ("out_of_range", "a finite number"),
    "bool_type": ("wrong_type", "true or false"),
    "tuple_type": ("wrong_type", "a list"),
    "list_type": ("wrong_type", "a list"),
    "dict_type": ("wrong_type", "a mapping of keys to values"),
    "model_type": ("wrong_type", "a mapping of keys to values"),
    "model_attributes_type": ("wrong_type", "a mapping of keys to values"),
    "none_required": ("wrong_type", "null"),
}
# What to write where a text stands in place of one of these.
_EXAMPLES: dict[str, str] = {
    "true or false": "true or false",
    "a whole number": "a whole number, such as 60",
    "a number": "a number, such as 60",
}
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_BOUNDS: dict[str, tuple[str, str]] = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_LENGTHS: dict[str, tuple[str, str, str]] = {
    "string_too_long": ("max_length", "at most", "characters"),
    "string_too_short": ("min_length", "at least", "characters"),
    "too_long": ("max_length", "at most", "entries"),
    "too_short": ("min_length", "at least", "entries"),
}


# What people write for a key that has another name here.
_MEANT: dict[str, tuple[str, ...]] = {
    "cron": ("cron_expression",),
    "schedule": ("cron_expression",),
    "when": ("cron_expression",),
    "tz": ("timezone",),
    "zone": ("timezone",),
    "prompt": ("content",),
    "instructions": ("content",),
    "skills": ("pipeline",),
    "steps": ("pipeline",),
    "repo": ("repositories",),
    "repos": ("repositories",),
    "enabled": ("paused",),
    "timeout": ("wall_clock_s", "limits"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding: the field's path (empty for the whole), a stable code, words, and a hint."""

    path: str
    code: str
    words: str
    hint: str


def wrong(code: str, words: str, hint: str, *, at: str = "") -> PydanticCustomError:
    """The error a validator of ours raises; `words` follow the field's name, `at` names a key below it."""
    return PydanticCustomError(code, "{words}", {"words": words, "hint": hint, "at": at})


def shown(value: object) -> str:
    """`value` as it may stand in a sentence: quoted when text, printable, at most 60 characters."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = repr(value) if isinstance(value, str | bool | int | float) else kind_of(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list | tuple):
        return "a list"
    return "a mapping" if isinstance(value, dict) else "null"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be, or None."""
    found = difflib.get_close_matches(word[:_LONGEST_SHOWN], list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def meant_key(word: str, known: Iterable[str]) -> str | None:
    """The known key that `word` was probably meant to be, by what people write for it or its letters, or None."""
    keys = list(known)
    return next((key for key in _MEANT.get(word, ()) if key in keys), None) or nearest(word, keys)


def problems(error: ValidationError, model: type[BaseModel], data: object) -> list[Problem]:
    """Every finding of `error` in order, with paths that lead through `data` as its author wrote it."""
    return [_problem(details, model, data) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, model: type[BaseModel], data: object) -> Problem:
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    path = _path(details["loc"], data)
    if "hint" in context:
        path = ".".join(part for part in (path, context["at"]) if part)
        return Problem(path, kind, context["words"], context["hint"])
    if kind == "missing":
        return Problem(path, "missing_field", "is missing", f"add `{details['loc'][-1]}`")
    if kind == "extra_forbidden":
        return Problem(path, "unknown_key", "is not a known key", _key_hint(model, details["loc"]))
    if kind in _SHAPES:
        code, shape = _SHAPES[kind]
        said = f"must be {shape}, not {_instead(given)}"
        if given is None and _is_required(model, details["loc"]):
            return Problem(path, code, said, "give it a value")
        return Problem(path, code, said, _shape_hint(shape, given))
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        limit = shown(context[key])
        said = f"must be {words} {limit}, not {shown(given)}"
        return Problem(path, "out_of_range", said, f"write a number that is {words} {limit}")
    if kind in _LENGTHS:
        key, words, unit = _LENGTHS[kind]
        hint = "shorten it" if words == "at most" else "complete it"
        return Problem(path, "out_of_range", f"must have {words} {context[key]} {unit}", hint)
    return _choice_problem(path, kind, given, context) or Problem(
        path, "bad_value", f"is not accepted ({details['msg']})", "write a value of the kind this field takes"
    )


def _choice_problem(path: str, kind: str, given: object, context: dict[str, Any]) -> Problem | None:
    if kind == "literal_error":
        words = f"must be {context['expected']}, not {_instead(given)}"
        meant = nearest(given, _quoted(context["expected"])) if isinstance(given, str) else None
        hint = f"did you mean '{meant}'?" if meant else f"write {context['expected']}"
        return Problem(path, "unknown_choice", words, hint)
    if kind == "union_tag_not_found":
        key = context["discriminator"].strip("'")
        return Problem(f"{path}.{key}" if path else key, "missing_field", "is missing", f"add `{key}`")
    if kind == "union_tag_invalid":
        key, tags = context["discriminator"].strip("'"), context["expected_tags"]
        meant = nearest(str(context["tag"]), _quoted(tags))
        hint = f"did you mean '{meant}'?" if meant else f"write one of {tags}"
        where = f"{path}.{key}" if path else key
        return Problem(where, "unknown_choice", f"must be one of {tags}, not {shown(context['tag'])}", hint)
    return None


def _instead(given: object) -> str:
    """What stands in the wrong place; the text itself only when it is short enough to be no secret."""
    if given is None:
        return "null"
    if isinstance(given, str):
        return f"the text {shown(given)}" if len(given) <= 20 else "a text"
    if isinstance(given, bool):
        return shown(given).lower()
    return f"the number {shown(given)}" if isinstance(given, int | float) else kind_of(given)


def _shape_hint(shape: str, given: object) -> str:
    if given is None:
        return "give it a value, or leave the key out"
    if shape == "text":
        return "put it in quotes" if isinstance(given, bool | int | float) else "write one text here"
    if shape == "a list":
        return "write a list with one entry: [" + (_quoted_text(given) if isinstance(given, str) else "…") + "]"
    example = _EXAMPLES.get(shape)
    if example is None:
        return f"write {shape}"
    return "leave the quotes out" if isinstance(given, str) and _is_written(shape, given) else f"write {example}"


def _is_written(shape: str, text: str) -> bool:
    """Whether a text would be of this shape without the quotes around it."""
    if shape == "true or false":
        return text.strip().lower() in ("true", "false")
    return _NUMBER.fullmatch(text.strip()) is not None


def _quoted_text(text: str) -> str:
    # Double quotes: JSON takes no others, and YAML takes them too.
    return '"' + shown(text)[1:-1].replace('"', "") + '"'


def _quoted(choices: str) -> list[str]:
    return [word for word in choices.split("'") if word.strip(" ,") not in ("", "or")]


def _path(loc: Sequence[int | str], data: object) -> str:
    """`loc` as an author would write it: pydantic's own words for union members and keys are left out."""
    path, here = "", data
    for position, part in enumerate(loc):
        if isinstance(part, int):
            path += f"[{part}]"
            here = here[part] if isinstance(here, list | tuple) and part < len(here) else None
        elif isinstance(here, dict) and (part in here or position == len(loc) - 1) and part != "[key]":
            path += ("." if path else "") + _key(part)
            here = here.get(part)
    return path


def _key(part: str) -> str:
    text = "".join(letter if letter.isprintable() and letter != "`" else "?" for letter in part)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def _key_hint(model: type[BaseModel], loc: Sequence[int | str]) -> str:
    models: list[type[BaseModel]] = [model]
    for part in loc[:-1]:
        if isinstance(part, str):
            models = _step(models, part)
    known = sorted({field.alias or name for each in models for name, field in each.model_fields.items()})
    meant = meant_key(str(loc[-1]), known)
    if meant is not None:
        return f"did you mean `{meant}`?"
    return "the keys here are " + ", ".join(known) if known else "leave it out"


def _is_required(model: type[BaseModel], loc: Sequence[int | str]) -> bool:
    """Whether the key that `loc` ends in must be there."""
    models: list[type[BaseModel]] = [model]
    for part in loc[:-1]:
        models = _step(models, part) if isinstance(part, str) else models
    last = str(loc[-1]) if loc else ""
    found = [each.model_fields[last] for each in models if last in each.model_fields]
    return bool(found) and all(field.is_required() for field in found)


def _step(models: Sequence[type[BaseModel]], part: str) -> list[type[BaseModel]]:
    fields = [
        field for model in models for name, field in model.model_fields.items() if part in (name, field.alias)
    ]
    if fields:
        return [found for field in fields for found in _models_in(field.annotation)]
    return [model for model in models if part in _tags(model)]


def _tags(model: type[BaseModel]) -> tuple[object, ...]:
    kind = model.model_fields.get("type")
    return get_args(kind.annotation) if kind and get_origin(kind.annotation) is Literal else ()


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation] if issubclass(annotation, BaseModel) else []
    known = get_origin(annotation) in (tuple, list, dict, Union, types.UnionType) or get_args(annotation)
    return [found for part in get_args(annotation) for found in _models_in(part)] if known else []
