"""Documents are read under limits: what hurts is refused at once, and nothing is guessed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from server.contract.documents import DEEPEST, LARGEST_INTEGER, frontmatter, load_document
from server.contract.refusals import BadDocument
from tests.contract.bombs import BOMBS

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8)
NUMBER = st.integers(-LARGEST_INTEGER, LARGEST_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)

# Reads every bomb of the corpus in a fresh process and prints what that cost in memory.
WEIGH = """
from pathlib import Path
from server.contract.documents import load_document
from server.contract.refusals import BadDocument
from tests.contract.bombs import BOMBS
def kib():
    # Not getrusage: its peak is inherited from the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
before, refused = kib(), 0
for name, body in BOMBS.items():
    try:
        load_document(body, source=name)
    except BadDocument:
        refused += 1
print(refused, kib() - before)
"""


def refusal_of(call: Callable[[], object]) -> BadDocument:
    with pytest.raises(BadDocument) as caught:
        call()
    refusal = caught.value
    assert refusal.sentence.endswith(".")
    assert refusal.hint
    return refusal


def read(text: str, source: str = "r.yaml") -> object:
    return load_document(text.encode(), source=source)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_its_name_with_a_hint(name: str) -> None:
    refusal = refusal_of(lambda: load_document(BOMBS[name], source=name))
    assert name in refusal.sentence
    assert len(str(refusal)) < 400


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")
def test_the_bombs_are_refused_in_bounded_memory() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", WEIGH], capture_output=True, text=True, timeout=120, check=True, cwd=root
    )
    refused, grown_kib = map(int, done.stdout.split())
    assert refused == len(BOMBS)
    assert grown_kib < 64 * 1024


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("laughs.yaml", "yaml_alias", "line 1: anchors and aliases"),
        ("alias.yaml", "yaml_alias", "line 2: anchors and aliases"),
        ("merge.yaml", "yaml_alias", "line 3: merge keys"),
        ("own tag.yaml", "yaml_tag", "line 1: tags"),
        ("directive.yaml", "yaml_tag", "directives"),
        ("open brackets.yaml", "nested_too_deep", "line 1: lists and mappings are nested deeper than 50"),
        ("hidden brackets.json", "nested_too_deep", "line 1"),
        ("indent.yaml", "nested_too_deep", "line 51"),
        ("many values.yaml", "too_many_values", "20,000"),
        ("many values.json", "too_many_values", "20,000"),
        ("huge scalar.yaml", "document_too_large", "over 256 KiB"),
        ("key twice.yaml", "duplicate_key", "line 3: the key 'a'"),
        ("key twice.json", "duplicate_key", "the key 'c'"),
        ("two documents.yaml", "several_documents", "line 2"),
        ("two documents.json", "not_json", "line 1"),
        ("number key.yaml", "key_not_text", "line 1"),
        ("infinite.yaml", "number_out_of_range", "line 1: the number '.inf'"),
        ("not a number.json", "number_out_of_range", "'NaN'"),
        ("beyond i-json.json", "number_out_of_range", "9007199254740991"),
        ("latin.yaml", "not_utf8", "line 1"),
        ("bom.yaml", "not_utf8", "byte order mark"),
        ("surrogate.json", "text_unwritable", "surrogate"),
        ("nul.yaml", "text_unwritable", "NUL"),
        ("empty.json", "document_empty", "is empty"),
        ("control.yaml", "not_yaml", "control"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_where(name: str, code: str, words: str) -> None:
    refusal = refusal_of(lambda: load_document(BOMBS[name], source=name))
    assert refusal.code == code
    assert words in refusal.sentence


@pytest.mark.parametrize(
    "text",
    [
        *("2026-12-01", "2026-12-01T09:00:00Z", "on", "off", "yes", "no", "y", "n", "True", "FALSE", "Null"),
        *("040.001", "010", "0x1F", "0o17", "1_000", "9:30", "+5", "1.", ".5", "1e", "NaN", "Infinity"),
        *("0 9 * * 1-5", "="),
    ],
)
def test_what_json_would_not_call_a_number_stays_text(text: str) -> None:
    assert read(f"value: {text}") == {"value": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("-5", -5),
        ("1.5e3", 1500.0),
    ],
)
def test_what_json_knows_is_no_text(text: str, value: object) -> None:
    found = read(f"value: {text}")
    assert found == {"value": value}
    assert isinstance(found, dict)
    assert type(found["value"]) is type(value)


def test_a_quoted_scalar_is_always_text() -> None:
    assert read("a: 'true'\nb: \"5\"\nc: |\n  null\n'<<': x") == {
        "a": "true",
        "b": "5",
        "c": "null\n",
        "<<": "x",
    }


def test_a_cron_that_begins_with_a_star_gets_the_hint_to_quote_it() -> None:
    refusal = refusal_of(lambda: read("name: a\ncron: */5 * * * *"))
    assert "line 2" in refusal.sentence
    assert "quote" in refusal.hint
    assert "cron" in refusal.hint


def test_nesting_is_allowed_up_to_the_limit_and_not_beyond() -> None:
    for source in ("deep.yaml", "deep.json"):
        read("[" * DEEPEST + "]" * DEEPEST, source)
        refusal_of(lambda source=source: read("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), source))


def test_brackets_and_commas_inside_texts_do_not_count() -> None:
    long = "[{," * 20_000
    assert read(json.dumps({"a": long}), "a.json") == {"a": long}
    assert read("a: |\n  " + long) == {"a": long}


def test_a_json_text_read_as_yaml_says_the_same() -> None:
    text = '{"a": [1, 2.5, "x", null, true], "b": {"c": "0 9 * * *"}}'
    assert read(text) == read(text, "a.json") == json.loads(text)


@given(JSON)
def test_what_json_writes_is_read_back_unchanged(value: object) -> None:
    assert load_document(json.dumps(value).encode(), source="a.JSON") == value


class Writer(yaml.SafeDumper):
    """Writes blocks, quotes texts, and spells numbers as JSON does."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


Writer.add_representer(
    str, lambda writer, text: writer.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def spelled(number: float) -> str:
    """Only with a dot does YAML 1.1, which PyYAML writes, take an exponent for a number."""
    text = json.dumps(number)
    return text.replace("e", ".0e") if "." not in text else text


Writer.add_representer(
    float, lambda writer, number: writer.represent_scalar("tag:yaml.org,2002:float", spelled(number))
)


@given(st.lists(JSON, max_size=3))
def test_what_a_yaml_writer_writes_is_read_back_unchanged(value: object) -> None:
    text = yaml.dump(value, Dumper=Writer, allow_unicode=True, sort_keys=False)
    assert json.dumps(load_document(text.encode(), source="a.yaml")) == json.dumps(value)


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_read_or_refused_and_nothing_else(body: bytes) -> None:
    for source in ("a.yaml", "a.json"):
        try:
            json.dumps(load_document(body, source=source), allow_nan=False).encode()
        except BadDocument as refusal:
            assert refusal.sentence.endswith(".")
    try:
        frontmatter(b"---\n" + body + b"\n---\n", source="SKILL.md")
    except BadDocument as refusal:
        assert refusal.sentence.endswith(".")


def test_a_header_is_read_as_texts_and_the_rest_as_markdown() -> None:
    body = b"---\nname: a\nversion: 1.0\nempty:\nlist:\n  - on\n---\n\n# Title\n\n---\nmore\n"
    header, markdown = frontmatter(body, source="SKILL.md")
    assert header == {"name": "a", "version": "1.0", "empty": "", "list": ["on"]}
    assert markdown == "# Title\n\n---\nmore"


def test_a_header_with_the_line_ends_of_windows_is_read() -> None:
    assert frontmatter(b"---\r\nname: a\r\n---\r\nx\r\n", source="SKILL.md") == ({"name": "a"}, "x")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"name: a\n", "no_frontmatter"),
        (b"\n---\nname: a\n---\n", "no_frontmatter"),
        (b"---\nname: a\n", "no_frontmatter"),
        (b"---\n---\n", "no_frontmatter"),
        (b"---\n- a\n---\n", "no_frontmatter"),
        (b"---\nname: a\nname: b\n---\n", "duplicate_key"),
        (b"---\nname: {a: b}\n---\n", "flow_style"),
        (b"---\nname: &x a\n---\n", "yaml_alias"),
    ],
)
def test_a_header_that_is_none_is_refused(body: bytes, code: str) -> None:
    assert refusal_of(lambda: frontmatter(body, source="SKILL.md")).code == code


def test_a_header_error_names_the_line_of_the_file() -> None:
    refusal = refusal_of(lambda: frontmatter(b"---\nname: a\nb: c: d\n---\n", source="SKILL.md"))
    assert "SKILL.md line 3" in refusal.sentence
