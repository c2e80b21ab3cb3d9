"""Documents made to hurt their reader (F19): depth, width, references, numbers, encodings."""

from __future__ import annotations

KIB = 1024

_LAUGHS = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
)
_FULL = 255 * KIB

BOMBS: dict[str, bytes] = {
    "laughs.yaml": _LAUGHS.encode(),
    "anchor.yaml": b"a: &x 1\n",
    "self.yaml": b"a: &x [*x]\n",
    "alias.yaml": b"a: 1\nb: *a\n",
    "merge.yaml": b"a: {b: 1}\nc:\n  <<: {b: 1}\n",
    "open brackets.yaml": b"[" * 100_000,
    "open braces.yaml": b"{a: " * 50_000,
    "dashes.yaml": b"- " * 100_000,
    "questions.yaml": b"? " * 100_000,
    "indent.yaml": b"".join(b" " * depth + b"a:\n" for depth in range(600)),
    "huge scalar.yaml": b"a: " + b"x" * (10 * KIB * KIB),
    "many values.yaml": b"[" + b"1," * 130_000 + b"1]",
    "many keys.yaml": b"".join(b"k%d: 1\n" % number for number in range(23_000)),
    "many empties.yaml": b"-\n" * 130_000,
    "huge integer.yaml": b"a: " + b"9" * 200_000,
    "huge exponent.yaml": b"a: 1e99999\n",
    "long fraction.yaml": b"a: 0." + b"1" * 200_000,
    "infinite.yaml": b"a: .inf\n",
    "not a number.yaml": b"a: .nan\n",
    "python tag.yaml": b"a: !!python/object/apply:os.system ['true']\n",
    "own tag.yaml": b"a: !bomb 1\n",
    "bare tag.yaml": b"a: ! 1\n",
    "binary tag.yaml": b"a: !!binary aGk=\n",
    "directive.yaml": b"%TAG ! tag:example.org,2026:\n---\na: 1\n",
    "version.yaml": b"%YAML 1.1\n---\na: 1\n",
    "two documents.yaml": b"a: 1\n---\nb: 2\n",
    "key twice.yaml": b"a: 1\nb: 2\na: 3\n",
    "complex key.yaml": b"? [a, b]\n: 1\n",
    "number key.yaml": b"1: a\n",
    "null key.yaml": b"~: a\n",
    "control.yaml": b"a: \x01\n",
    "nul.yaml": b'a: "\\0"\n',
    "utf-16.yaml": "a: 1\n".encode("utf-16"),
    "latin.yaml": "a: ü\n".encode("latin-1"),
    "bom.yaml": b"\xef\xbb\xbfa: 1\n",
    "quotes.yaml": b'"' * _FULL,
    "open brackets.json": b"[" * 100_000,
    "open braces.json": b'{"a":' * 50_000,
    "hidden brackets.json": b'"\\"' + b"[" * 100 + b'", ' + b"[" * 100_000,
    "escaped quotes.json": b'"' + b'\\"' * (_FULL // 2),
    "backslashes.json": b'"' + b"\\" * _FULL,
    "many values.json": b"[" + b"1," * 130_000 + b"1]",
    "huge scalar.json": b'"' + b"x" * (10 * KIB * KIB) + b'"',
    "huge integer.json": b"1" + b"0" * 200_000,
    "beyond i-json.json": b"9007199254740992",
    "huge exponent.json": b"[1e400]",
    "not a number.json": b"[NaN]",
    "infinite.json": b"[-Infinity]",
    "key twice.json": b'{"a": 1, "b": {"c": 1, "c": 2}}',
    "surrogate.json": b'"\\ud800"',
    "nul.json": b'{"a\\u0000": 1}',
    "two documents.json": b"{} {}",
    "empty.yaml": b" \n",
    "empty.json": b"",
    "not json.json": b"{'a': 1}",
}
