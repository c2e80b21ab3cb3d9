"""Finds signs in a file's name and first bytes: secrets, deadlines, action words, invoices, broken text.

What is found is named by its kind; no text of a file leaves this module.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

SECRET_TEXTS = (
    ("a private key", re.compile(rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")),
    ("an AWS key", re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{30}|github_pat_[A-Za-z0-9_]{30})")),
    (
        "a Slack token",
        re.compile(rb"\bxox[abeprs]-[A-Za-z0-9-]{10}|hooks\.slack\.com/services/[A-Z0-9]+/[A-Z0-9]+/"),
    ),
    ("an API key", re.compile(rb"\bsk-[A-Za-z0-9_-]{20}|\bAIza[0-9A-Za-z_-]{35}")),
    ("a web token", re.compile(rb"(?<![\w-])eyJ[A-Za-z0-9_-]{10,500}\.eyJ[A-Za-z0-9_-]{10,500}\.")),
    (
        "a password",
        re.compile(
            rb"\b(?:pass(?:word|wd|phrase|wort)|(?:api|access|secret|auth)[_-]?(?:key|token)|client_secret)"
            rb"[\"']?[ \t]{0,8}[:=][ \t]{0,8}[\"']?"
            rb"(?!(?:change|example|your|xxx|\*\*|none\b|null\b|true\b|false\b))"
            rb"[^\s\"'<>{}$()]{6}",
            re.IGNORECASE,
        ),
    ),
)
SECRET_NAMES = re.compile(
    r"\.env(?:\.(?!example|sample|template)\w+)?|id_(?:rsa|dsa|ecdsa|ed25519)|\.netrc|\.pgpass|\.htpasswd"
    r"|.*\.(?:p12|pfx|jks|keystore|kdbx|ppk)",
    re.IGNORECASE,
)
INVOICE_NAME = re.compile(
    r"(?<![a-z])(?:invoice|receipt|rechnung|quittung|facture|bill)(?![a-z])", re.IGNORECASE
)
INVOICE_WORDS = re.compile(
    r"\b(?:invoice|receipt|amount due|total due|balance due|bill to|payment terms|iban|vat|tax id"
    r"|rechnung|rechnungsnummer|zahlbar|mwst|ust-id|facture)\b",
    re.IGNORECASE,
)
# The brackets keep the two words for unfinished work from being found in this file.
ACTION = re.compile(
    r"\b(?P<word>TO[D]O|FIX[M]E|ASAP|URGENT)\b|(?i:\b(?P<phrase>asap|urgent|dringend|action required|rsvp"
    r"|please (?:reply|respond|sign|confirm|approve|review|call)|follow[- ]up"
    r"|bitte (?:antworten|unterschreiben))\b)"
    r"|(?P<box>^[ \t]{0,20}[-*] \[ \] )",
    re.MULTILINE,
)
# Words that make any date of their line a deadline, and words that do so only right before one.
DUE = re.compile(
    r"\b(?:due|deadline|no later than|expires?|respond|reply|pay|payable|submit"
    r"|frist|fällig|faellig|spätestens)\b",
    re.IGNORECASE,
)
DUE_RIGHT_AFTER = re.compile(
    r"\b(?:by|until|till|before|bis)\b[ ,:]{0,3}"
    r"(?:(?:the|on|zum|noon|(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6})[ ,.]{1,3})?$",
    re.IGNORECASE,
)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?P<name>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
DATES = (
    re.compile(r"\b(?P<year>20\d\d)-(?P<month>\d\d)-(?P<day>\d\d)\b"),
    re.compile(r"\b(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>20\d\d)\b"),
    re.compile(
        rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\.? {_MONTH}\b\.?(?:,? (?P<year>20\d\d))?", re.IGNORECASE
    ),
    re.compile(rf"\b{_MONTH}\.? (?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (?P<year>20\d\d))?", re.IGNORECASE),
)
SOON_DAYS = 7
LONGEST_LINE = 2_000
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class Signs:
    """What a file's name and first bytes show. `due` is the nearest deadline within a week of today.

    `broken` says what is wrong with the encoding of a text; `text` whether the bytes read as text at all.
    """

    secret: str | None = None
    action: str | None = None
    due: date | None = None
    invoice: bool = False
    broken: str | None = None
    text: bool = False
    pointer: bool = False


def signs_of(
    name: str, head: bytes | None, *, is_text: bool, is_note: bool, whole: bool, today: date
) -> Signs:
    """The signs of a file called `name`; `head` None when it was not read.

    `is_text`: the name says that it is text. `is_note`: people write it to each other, so that action words
    and deadlines mean something. `whole`: `head` is all of it.
    """
    secret = "a file of keys or passwords" if SECRET_NAMES.fullmatch(name) else None
    by_name = INVOICE_NAME.search(name) is not None
    if head is None:
        return Signs(secret=secret, invoice=by_name)
    secret = next((kind for kind, sign in SECRET_TEXTS if sign.search(head)), secret)
    text, broken = _decoded(head, whole=whole)
    if text is None:
        return Signs(secret=secret, invoice=by_name, broken=broken if is_text else None)
    words = {found[0].casefold() for found in INVOICE_WORDS.finditer(text)}
    return Signs(
        secret=secret,
        action=_action(text) if is_note else None,
        due=_due(text, today) if is_note else None,
        invoice=by_name or len(words) > 1,
        broken=broken,
        text=True,
        pointer=head.startswith(LFS_POINTER),
    )


def _decoded(head: bytes, *, whole: bool) -> tuple[str | None, str | None]:
    """The text, None if it is none, and what is wrong with it: UTF-8, or UTF-16 that says so."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        decoder = codecs.getincrementaldecoder("utf-16")()
    elif b"\0" in head:
        return None, "it holds zero bytes"
    else:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        text = decoder.decode(head, final=whole)
    except UnicodeDecodeError:
        return None, "it is not UTF-8"
    return text, "it has characters that were lost" if "\ufffd" in text else None


def _action(text: str) -> str | None:
    """The first action word: one of the list above in quotes, `an open box`, or `a mark to do`."""
    found = ACTION.search(text)
    if found is None:
        return None
    if found["box"]:
        return "an open box"
    said = found["phrase"] or found["word"]
    return f"“{said.lower()}”" if found["phrase"] or said in ("ASAP", "URGENT") else "a mark to do"


def _due(text: str, today: date) -> date | None:
    """The nearest date within a week of today, past or to come, on a line that speaks of a deadline."""
    near: list[date] = []
    for line in text.splitlines():
        if len(line) > LONGEST_LINE:
            continue
        any_date = DUE.search(line) is not None
        for at, day in _dates(line, today):
            spoken_of = any_date or DUE_RIGHT_AFTER.search(line[max(0, at - 20) : at])
            if spoken_of and abs((day - today).days) <= SOON_DAYS:
                near.append(day)
    # What is still to come first: a missed deadline can wait no longer than one that is not.
    return min(near, key=lambda day: (day < today, abs((day - today).days)), default=None)


def _dates(line: str, today: date) -> Iterator[tuple[int, date]]:
    for form in DATES:
        for found in form.finditer(line):
            said = found.groupdict()
            month = MONTHS.index(said["name"].lower()) + 1 if said.get("name") else int(said["month"])
            # A date without a year is the one nearest to today.
            years = [int(said["year"])] if said["year"] else [today.year - 1, today.year, today.year + 1]
            days = []
            for year in years:
                try:
                    days.append(date(year, month, int(said["day"])))
                except ValueError:
                    continue
            if days:
                yield found.start(), min(days, key=lambda day: abs((day - today).days))
