"""Secrets never get through, whatever they are dressed in; ordinary text gets through untouched."""

from __future__ import annotations

import base64
import html
import json
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.contract.redaction import MARK, SHORTEST_SECRET, Redactor

SECRET = 'p@ss"wörd/+\\ 7%'
PLAIN = "hunter2-correct-horse"
ODD = "aB3/dE+f9==x&y<z>'%2f\\n&amp;\n\\"
PROSE = """\
# Daily report

12 commits by 3 people touched `server/` and https://example.com/a?b=c#d since 2026-01-05T09:00:00.000Z.
See mailto:team@example.com, ssh://git@example.com:22/repo.git, run_0100000000000000000001,
sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 and C:\\Users\\me.
100 % done — naïve café.
skeleton-key, ghp_short, xoxo, AKIA, -----BEGIN CERTIFICATE-----, user:pass, 12:30@noon
"""


def small_percent(text: str) -> str:
    """Percent-encoded text with small letters in its escapes."""
    return re.sub("%..", lambda escape: escape[0].lower(), text)


def numbered(text: str, letters: str, form: str) -> str:
    """A text in which some letters are written as their numbers."""
    return "".join(form.format(ord(letter)) if letter in letters else letter for letter in text)


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": lambda secret: secret,
    "reversed": lambda secret: secret[::-1],
    "hex": lambda secret: secret.encode().hex(),
    "capital hex": lambda secret: secret.encode().hex().upper(),
    "percent": lambda secret: urllib.parse.quote(secret, safe=""),
    "form": urllib.parse.quote_plus,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON unescaped": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "percent but for slashes": urllib.parse.quote,
    "percent in small letters": lambda secret: small_percent(urllib.parse.quote(secret, safe="")),
    "percent of JavaScript": lambda secret: urllib.parse.quote(secret, safe=";,/?:@&=+$-_.!~*'()#"),
    "JSON of PHP": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "JSON of Go": lambda secret: numbered(json.dumps(secret, ensure_ascii=False)[1:-1], "<>&", "\\u{:04x}"),
    "JSON in capitals": lambda secret: numbered(json.dumps(secret)[1:-1], "@/+=%&<>'é", "\\u{:04X}"),
    "HTML": html.escape,
    "HTML but for quotes": lambda secret: html.escape(secret, quote=False),
    "HTML in numbers": lambda secret: numbered(secret, "&<>\"'/=+@ é", "&#{:03};"),
    "HTML in hex": lambda secret: numbered(secret, "&<>\"'/=+@ é", "&#x{:02X};"),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
}


@pytest.mark.promise("ENV-2")
@pytest.mark.parametrize("secret", [SECRET, PLAIN, ODD, "x" * 200, "äöüß€漢😀", "sixsix"])
@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_secret_is_taken_out_in_every_disguise(disguise: str, secret: str) -> None:
    dressed = DISGUISES[disguise](secret)
    clean = Redactor([secret]).text(f"before {dressed} after")
    assert dressed not in clean
    assert MARK in clean
    assert clean.startswith("before ")
    assert clean.endswith(" after")


@pytest.mark.promise("ENV-2")
@pytest.mark.parametrize("variant", [base64.b64encode, base64.urlsafe_b64encode])
@given(
    secret=st.text(st.characters(codec="utf-8"), min_size=8, max_size=40),
    before=st.binary(max_size=9),
    after=st.binary(max_size=9),
)
def test_a_secret_inside_longer_base64_is_taken_out_in_every_alignment(
    variant: Callable[[bytes], bytes], secret: str, before: bytes, after: bytes
) -> None:
    encoded = variant(before + secret.encode() + after).decode()
    clean = Redactor([secret]).text(encoded)
    assert MARK in clean
    # Nothing is left from which more than the first and the last bytes could be read.
    assert sum(len(part) for part in clean.split(MARK)) <= len(encoded) - (len(secret.encode()) * 4 // 3 - 4)


ALPHABET = st.text('abcdeR[]/+=%"\\é', min_size=SHORTEST_SECRET, max_size=12)


@pytest.mark.promise("ENV-2")
@given(
    secrets=st.lists(ALPHABET, min_size=1, max_size=3), words=st.lists(ALPHABET, max_size=3), data=st.data()
)
def test_no_secret_is_left_in_any_text_however_they_overlap(
    secrets: list[str], words: list[str], data: st.DataObject
) -> None:
    parts = data.draw(st.permutations([*secrets, *words]))
    clean = Redactor(secrets).text("".join(parts))
    for secret in secrets:
        assert secret not in clean.replace(MARK, "\0")


@given(
    secrets=st.lists(st.text("redact", min_size=6, max_size=8), max_size=3),
    text=st.text("redact[]:/@ ", max_size=60),
)
@example(secrets=["redact"], text="[redacted] redact")
@example(secrets=["redacted"], text="redacted")
@example(secrets=[], text="https://user:password@example.com/")
def test_redacting_again_changes_nothing(secrets: list[str], text: str) -> None:
    redactor = Redactor(secrets)
    once = redactor.text(text)
    assert redactor.text(once) == once


SHAPES = [
    "sk-ant-api03-AbCdEf0123456789_-x",
    "sk-ant-oat01-abcdefgh",
    "ghp_0123456789abcdefghij",
    "ghs_0123456789abcdefghij",
    "github_pat_0123456789_abcdefghijkl",
    "glpat-0123456789abcdef",
    "xoxb-1234-5678-abcdef",
    "AKIAIOSFODNN7EXAMPLE",
]


@pytest.mark.promise("ENV-2")
@pytest.mark.parametrize("token", SHAPES)
@pytest.mark.parametrize("frame", ["{}", "key={}", '"{}"', "({})", "a {} b\n", "https://x/?t={}&u=1"])
def test_a_token_of_a_known_shape_is_taken_out_though_nobody_named_it(token: str, frame: str) -> None:
    clean = Redactor().text(frame.format(token))
    assert clean == frame.format(MARK)


@pytest.mark.promise("ENV-2")
@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://hooks.slack.com/services/T000/B000/XXXXXXXX!", f"https://hooks.slack.com/services/{MARK}!"),
        ("https://me:hunter2@example.com/repo.git", f"https://{MARK}@example.com/repo.git"),
        ("postgres://app:p%40ss@db:5432/x", f"postgres://{MARK}@db:5432/x"),
        (
            "key:\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----\nend",
            f"key:\n{MARK}\nend",
        ),
        (
            '"-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----\\n"',
            f'"{MARK}\\n"',
        ),
    ],
)
def test_what_stands_in_an_address_or_a_key_file_is_taken_out(text: str, clean: str) -> None:
    assert Redactor().text(text) == clean


def test_ordinary_text_is_untouched() -> None:
    assert Redactor().text(PROSE) == PROSE
    assert Redactor([SECRET, PLAIN]).text(PROSE) == PROSE


@given(text=st.text("abcdefghij ÄÖ.,;!?\n()0123456789", max_size=200))
def test_text_without_secrets_comes_back_as_it_was(text: str) -> None:
    assert Redactor(["ZZZZZZ-secret"]).text(text) == text


def test_a_value_too_short_to_be_a_secret_is_left_alone() -> None:
    assert Redactor(["short", ""]).text("a short text") == "a short text"


def test_a_long_secret_is_taken_out_whole_though_a_short_one_begins_it() -> None:
    assert Redactor(["abcdef", "abcdefghijkl"]).text("x abcdefghijkl y") == f"x {MARK} y"


@pytest.mark.promise("ENV-2")
def test_every_text_of_a_json_value_is_cleaned_keys_too() -> None:
    value = {"a": [PLAIN, {"b": f"x{PLAIN}x"}], PLAIN: 1, "n": [1, 2.5, None, True], "t": (PLAIN,)}
    clean = Redactor([PLAIN]).data(value)
    assert clean == {"a": [MARK, {"b": f"x{MARK}x"}], MARK: 1, "n": [1, 2.5, None, True], "t": [MARK]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab", max_size=4) | st.just(PLAIN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON)
def test_a_cleaned_value_has_the_same_form(value: Any) -> None:
    clean = Redactor([PLAIN]).data(value)
    assert PLAIN not in json.dumps(clean)
    assert json.loads(json.dumps(value).replace(PLAIN, MARK)) == clean


@pytest.mark.promise("ENV-2")
@pytest.mark.parametrize("disguise", ["as it is", "percent", "form", "JSON", "JSON unescaped", "hex", "base64"])
def test_a_secret_too_long_for_every_spelling_is_taken_out_in_the_commonest(disguise: str) -> None:
    secret = '{"key": "a/b+c&d"}\n' * 500
    assert Redactor([secret]).text(f"before {DISGUISES[disguise](secret)} after").startswith(f"before {MARK}")


@pytest.mark.promise("ENV-2")
@given(secret=st.text("ab/+=&<%\\'\" é", min_size=SHORTEST_SECRET, max_size=12), data=st.data())
def test_a_secret_is_taken_out_whichever_of_its_letters_an_encoder_escapes(
    secret: str, data: st.DataObject
) -> None:
    form, always = data.draw(st.sampled_from([("%{:02x}", "%é"), ("\\u{:04X}", "\\"), ("&#x{:x};", "&")]))
    chosen = data.draw(st.sets(st.sampled_from("/+=&<%\\'\" ")))
    secret += "z"  # the last of them may be the beginning of its own escape
    dressed = numbered(secret, f"{always}{''.join(chosen)}", form).replace("%e9", "%c3%a9")
    assert Redactor([secret]).text(f"({dressed})") == f"({MARK})"


@pytest.mark.parametrize("letter", ["/", "\\", "%", "&", " "])
def test_text_full_of_what_nearly_is_a_secret_is_cleaned_in_time_of_its_length(letter: str) -> None:
    secret, text = letter * 30 + "x", letter * 50_000
    clean = Redactor([secret]).text(text + secret)
    assert clean.startswith(text[:-30])
    assert clean.endswith(MARK)


def test_a_very_long_text_is_cleaned_to_its_end() -> None:
    long = "a:b@" * 50_000 + PLAIN + "://" * 50_000
    clean = Redactor([PLAIN]).text(long)
    assert clean == long.replace(PLAIN, MARK)


def test_a_line_of_a_secret_of_several_lines_is_a_secret_and_what_frames_it_is_not() -> None:
    framed = ("-----BEGIN KEY-----", "MIIEowIBAAKCAQEA7bq", "  x9/Lk+2mZqPq81+end=", "-----END KEY-----")
    redactor = Redactor(["\n".join(framed)])
    assert redactor.text(f"{framed[0]}\n{framed[1]}") == f"{framed[0]}\n{MARK}"
    assert redactor.text(f"<{framed[2].strip()}>") == f"<{MARK}>"
    assert redactor.holds(framed[1]) and not redactor.holds(framed[3])
    assert redactor.text("\n".join(framed)) == MARK
