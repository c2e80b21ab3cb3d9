"""Text from a repository made fit to print: no control characters, no Markdown of its own, a known length."""

import re
import unicodedata

# CSI, OSC and two-character escapes of terminals (ECMA-48), in their 7-bit and 8-bit forms.
TERMINAL_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]"
)
# What chat services read as a mention or a command: <!channel>, <@U1>, <#C1>.
CHAT_COMMAND = re.compile(r"<(?=[!@#])")
MAIL_ADDRESS = re.compile(r"(?:\d+\+)?([^\s@<>]+)@[^\s@<>]+")
# Beside letters and digits, what no Markdown flavour reads as markup within a line.
HARMLESS_MARKS = frozenset(" .,'\u2019()/&+-")
INNER_UNDERSCORE = re.compile(r"(?<=[^\W_])_(?=[^\W_])")
AUTOLINK = re.compile(r"://|\bwww\.", re.IGNORECASE)
DROPPED = frozenset({"Cf", "Cs"})
BLANK = frozenset({"Cc", "Zl", "Zp", "Zs"})


def decoded(raw: bytes) -> str:
    """Bytes from git as text: UTF-8, else Latin-1, the usual encoding of old commits that name none."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def clean(text: str, limit: int) -> str:
    """One line of at most `limit` characters without escapes, control or invisible formatting characters."""
    # Ten times the limit bounds the work on a line of megabytes and is cut again below.
    bare = TERMINAL_ESCAPE.sub("", text[: limit * 10])
    kinds = ((char, unicodedata.category(char)) for char in bare)
    seen = "".join(" " if kind in BLANK else char for char, kind in kinds if kind not in DROPPED)
    line = CHAT_COMMAND.sub("\u2039", " ".join(seen.split()))
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def name_of(raw: bytes) -> str:
    """A person's name without any e-mail address: of a name that is one, the part before the @."""
    name = clean(MAIL_ADDRESS.sub(r"\1", decoded(raw)), 60).strip("@<> ")
    return name or "(no name)"


def code_span(text: str) -> str:
    """Text as a Markdown code span, in which nothing is markup; a backtick and a table bar are replaced."""
    return "`" + (re.sub("`+", "'", text).replace("|", "¦").strip() or "(empty)") + "`"


def shown(text: str) -> str:
    """A name as it is when no Markdown flavour could read markup in it, else as a code span."""
    letters = INNER_UNDERSCORE.sub("", text.removesuffix("[bot]"))
    harmless = all(
        char.isalnum() or char in HARMLESS_MARKS or unicodedata.category(char)[0] == "M" for char in letters
    )
    return text if harmless and text[:1] not in "-+" and not AUTOLINK.search(text) else code_span(text)


def width(text: str) -> int:
    """The columns `text` takes in a terminal: two for wide characters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
