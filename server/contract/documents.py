"""Reads YAML, JSON and SKILL.md under limits, and admits what was read as a document or a wire message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, NoReturn, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from .digest import canonical_json
from .plain_words import problems, shown, wrong
from .refusals import BadDocument
from .wire import PROTOCOL

LARGEST_BYTES: Final = 256 * 1024
DEEPEST: Final = 50
# A routine or process needs hundreds; this bounds the time of PyYAML's slow pure-Python scanner to a third
# of a second.
MOST_VALUES: Final = 20_000
MOST_PROBLEMS_LISTED: Final = 5
# Beyond it JSON readers in other languages lose digits (RFC 7493, I-JSON).
LARGEST_INTEGER: Final = 2**53 - 1

_LONGEST_NUMBER = 40
# JSON's numbers, and the ways in which YAML writes what is no number.
_NUMBER = re.compile(
    r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
# Possessive, and an unclosed string still matches: otherwise a file of quotes takes quadratic time.
_JSON_MARKS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
_HEADER = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*\r?(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_YAML_READER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class DocumentPart(BaseModel):
    """A part of a file: frozen, strictly typed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Document(DocumentPart):
    """A whole file that a person writes: frozen, strictly typed, unknown keys refused (DESIGN §4)."""


class WirePart(BaseModel):
    """A part of a message: frozen, strictly typed; keys of a later protocol are kept on a round trip."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)


def accepts(protocol: int) -> bool:
    """Whether this program understands messages of `protocol`: its own number and the one before."""
    return protocol in (PROTOCOL, PROTOCOL - 1)


def _served(protocol: int) -> int:
    if not accepts(protocol):
        raise wrong(
            "unknown_protocol",
            f"must be {PROTOCOL} or {PROTOCOL - 1}, not {protocol}",
            "bring HQ and minion to the same release",
        )
    return protocol


class WireMessage(WirePart):
    """A message between HQ and a minion; it carries the protocol number (DESIGN §4)."""

    protocol: Annotated[int, AfterValidator(_served)] = PROTOCOL


Model = TypeVar("Model", bound=BaseModel)


def admit(model: type[Model], data: object, *, source: str) -> Model:
    """`data` (JSON-shaped) as an instance of `model`, or one `BadDocument`.

    The refusal names `source`, each field by its path (five at most) and what to do; its code is that of
    the first problem. Lists become tuples; no value is ever converted to fit.
    """
    try:
        _check_writable(data, source)
        # JSON mode is what makes "strict" mean: text is text and a list may be a tuple.
        return model.model_validate_json(canonical_json(data))
    except ValidationError as error:
        found = problems(error, model, data)
    except (TypeError, ValueError, RecursionError):
        raise BadDocument(
            "not_json",
            f"{source} holds a value that JSON cannot hold.",
            hint="use texts, numbers, lists and mappings only",
        ) from None
    listed = found[:MOST_PROBLEMS_LISTED]
    said = [f"`{each.path}` {each.words}" if each.path else f"the top level {each.words}" for each in listed]
    sentence = f"{source}: {said[0]}."
    if len(found) > 1:
        more = len(found) - len(listed)
        sentence += " Also: " + "; ".join(said[1:]) + (f"; and {more} more." if more else ".")
    raise BadDocument(listed[0].code, sentence, hint="; ".join(dict.fromkeys(each.hint for each in listed)))


def load_document(body: bytes, *, source: str) -> Any:
    """The JSON-shaped value in `body`: JSON when `source` ends in `.json`, else YAML.

    Limits: 256 KiB, UTF-8, nesting 50, one document, no aliases, anchors, merge keys or tags, no key twice,
    text keys only, finite numbers only. Only `true`, `false`, `null`, `~` and JSON's numbers are not text:
    dates, `on`, `yes`, `040.001` and `0x1F` stay text. Raises `BadDocument` with the line where known.
    """
    text = _text_of(body, source)
    if not text.strip():
        raise BadDocument(
            "document_empty", f"{source} is empty.", hint="write the document, or remove the file"
        )
    value = _read_json(text, source) if source.lower().endswith(".json") else _read_yaml(text, source)
    _check_writable(value, source)
    return value


def frontmatter(body: bytes, *, source: str) -> tuple[dict[str, Any], str]:
    """The header of a SKILL.md as a mapping of texts, and its Markdown body without outer blank lines.

    As the standard's validator does, every scalar is text (`1.0` stays "1.0") and only block style is read.
    Raises `BadDocument` as `load_document` does.
    """
    text = _text_of(body, source)
    parts = _HEADER.match(text)
    if parts is None:
        raise BadDocument(
            "no_frontmatter",
            f"{source} has no header between two lines of three hyphens.",
            hint="begin the file with a line ---, then name and description, then a line ---",
        )
    header = _YamlDocument(source, first_line=2, only_text=True).read(parts[1])
    if not isinstance(header, dict):
        raise BadDocument(
            "no_frontmatter",
            f"{source}: the header is not a mapping.",
            hint="write lines such as name: my-skill",
        )
    _check_writable(header, source)
    return header, text[parts.end() :].strip()


def _text_of(body: bytes, source: str) -> str:
    if len(body) > LARGEST_BYTES:
        raise BadDocument(
            "document_too_large",
            f"{source} is over {LARGEST_BYTES // 1024} KiB.",
            hint="move long text into a skill's references",
        )
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise BadDocument(
            "not_utf8", f"{source} line {line}: this is not UTF-8.", hint="save the file as UTF-8"
        ) from None
    if text.startswith("\ufeff"):
        raise BadDocument(
            "not_utf8",
            f"{source} line 1: a byte order mark is in front.",
            hint="save it as UTF-8 without a BOM",
        )
    return text


def _check_writable(value: object, source: str) -> None:
    """Refuse what no file, argument or database column can carry: NUL and half of a surrogate pair."""
    waiting: list[object] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            waiting += item
        elif isinstance(item, str) and (
            "\0" in item or any("\ud800" <= letter <= "\udfff" for letter in item)
        ):
            raise BadDocument(
                "text_unwritable",
                f"{source} holds a text with a NUL or half a surrogate pair.",
                hint="remove the \\u0000 or \\ud800 escape",
            )


def _read_json(text: str, source: str) -> Any:
    depth = values = 0
    for mark in _JSON_MARKS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark[0], 0)
        values += mark[0] == ","
        if depth > DEEPEST:
            _too_deep(source, text.count("\n", 0, mark.start()) + 1)
        if values >= MOST_VALUES:
            _too_many(source)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, item in items:
            if key in mapping:
                _key_twice(source, key)
            mapping[key] = item
        return mapping

    def number(digits: str) -> int | float:
        return _number(digits, source)

    try:
        return json.loads(
            text, object_pairs_hook=pairs, parse_int=number, parse_float=number, parse_constant=number
        )
    except json.JSONDecodeError as error:
        words = error.msg[:1].lower() + error.msg[1:]
        raise BadDocument(
            "not_json", f"{source} line {error.lineno}: this is not JSON ({words}).", hint="mend this line"
        ) from None


def _number(digits: str, source: str) -> int | float:
    """The number that JSON or YAML wrote as `digits`, if it is finite and of ordinary size."""
    if len(digits) > _LONGEST_NUMBER or digits[-1].isalpha():
        value: int | float = float("inf")
    else:
        value = int(digits) if digits.lstrip("-").isdigit() else float(digits)
    large = isinstance(value, int) and abs(value) > LARGEST_INTEGER
    if large or value != value or value in (float("inf"), float("-inf")):
        raise BadDocument(
            "number_out_of_range",
            f"{source}: the number {shown(digits)} is not finite or beyond ±{LARGEST_INTEGER}.",
            hint="put it in quotes if it is a text",
        )
    return value


def _read_yaml(text: str, source: str) -> Any:
    return _YamlDocument(source, first_line=1, only_text=False).read(text)


class _YamlDocument:
    """Builds one value from YAML's events with a stack of its own: deep nesting never recurses."""

    def __init__(self, source: str, *, first_line: int, only_text: bool) -> None:
        self._source = source
        self._first_line = first_line
        self._only_text = only_text
        self._open: list[dict[str, Any] | list[Any]] = []
        self._keys: list[str | None] = []
        self._root: Any = None
        self._values = 0

    def read(self, text: str) -> Any:
        """The value of the one document in `text`."""
        documents = 0
        for event in self._events(text):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "several_documents", "a second document begins", "keep one per file")
                if event.version or event.tags:
                    self._refuse(event, "yaml_tag", "YAML directives are not read", "remove the line with %")
            elif isinstance(event, yaml.NodeEvent):
                self._check_plain(event)
                self._take(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._open.pop()
                self._keys.pop()
        return self._root

    def _events(self, text: str) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(text, Loader=_YAML_READER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f" line {mark.line + self._first_line}" if mark is not None else ""
            said = " ".join(part for part in (error.problem, error.context) if part)
            raise BadDocument(
                "not_yaml", f"{self._source}{line}: this is not YAML ({said}).", hint=_yaml_hint(said)
            ) from None
        except yaml.YAMLError as error:
            said = str(error).splitlines()[0]
            raise BadDocument(
                "not_yaml", f"{self._source}: this is not YAML ({said}).", hint="remove the character"
            ) from None

    def _refuse(self, event: yaml.Event, code: str, words: str, hint: str) -> NoReturn:
        raise BadDocument(code, f"{self._source} line {self._line(event)}: {words}.", hint=hint)

    def _line(self, event: yaml.Event) -> int:
        return self._first_line + (event.start_mark.line if event.start_mark else 0)

    def _check_plain(self, event: yaml.NodeEvent) -> None:
        if event.anchor is not None:
            hint = "write the value out; quote a text that begins with * or &, such as a cron expression"
            self._refuse(event, "yaml_alias", "anchors and aliases are not read", hint)
        if getattr(event, "tag", None) is not None:
            self._refuse(
                event, "yaml_tag", "tags are not read", "remove the ! and its word, or quote the text"
            )
        if self._only_text and getattr(event, "flow_style", False):
            self._refuse(
                event, "flow_style", "brackets and braces are not read here", "use one line per entry"
            )
        self._values += 1
        if self._values > MOST_VALUES:
            _too_many(self._source)

    def _take(self, event: yaml.NodeEvent) -> None:
        into = self._open[-1] if self._open else None
        if isinstance(into, dict) and self._keys[-1] is None:
            self._keys[-1] = self._key(event, into)
            return
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        if isinstance(into, dict):
            into[str(self._keys[-1])] = value
            self._keys[-1] = None
        elif isinstance(into, list):
            into.append(value)
        else:
            self._root = value
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self._open) >= DEEPEST:
                _too_deep(self._source, self._line(event))
            self._open.append(value)
            self._keys.append(None)

    def _key(self, event: yaml.NodeEvent, into: dict[str, Any]) -> str:
        key = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else None
        if not isinstance(key, str):
            self._refuse(event, "key_not_text", "a key must be text", "put the key in quotes")
        if key == "<<" and isinstance(event, yaml.ScalarEvent) and not event.style:
            self._refuse(event, "yaml_alias", "merge keys are not read", "write the keys out")
        if key in into:
            _key_twice(self._source, key, self._line(event))
        return key

    def _scalar(self, event: yaml.ScalarEvent) -> str | int | float | bool | None:
        text: str = event.value
        if self._only_text or event.style:
            return text
        if text in ("true", "false"):
            return text == "true"
        if text in ("", "~", "null"):
            return None
        where = f"{self._source} line {self._line(event)}"
        return _number(text, where) if _NUMBER.fullmatch(text) else text


def _yaml_hint(said: str) -> str:
    table: Iterable[tuple[str, str]] = (
        ("alias", "quote a text that begins with *, such as a cron expression"),
        ("anchor", "quote a text that begins with &"),
        ("mapping values", "quote a text that has a colon and a space in it"),
        ("cannot start any token", "indent with spaces, and quote a text that begins with @, ` or %"),
    )
    return next(
        (hint for word, hint in table if word in said), "mend this line; quote texts with signs in them"
    )


def _too_deep(source: str, line: int) -> NoReturn:
    raise BadDocument(
        "nested_too_deep",
        f"{source} line {line}: lists and mappings are nested deeper than {DEEPEST}.",
        hint="no document needs this; check the brackets and the indentation",
    )


def _too_many(source: str) -> NoReturn:
    raise BadDocument(
        "too_many_values", f"{source} holds more than {MOST_VALUES:,} values.", hint="shorten its lists"
    )


def _key_twice(source: str, key: str, line: int | None = None) -> NoReturn:
    where = f"{source} line {line}" if line is not None else source
    raise BadDocument(
        "duplicate_key", f"{where}: the key {shown(key)} is given twice.", hint="keep one of them"
    )
