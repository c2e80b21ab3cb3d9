"""Turns the inline markup of one line of Markdown into Slack's, or takes it away."""

import re
from html import unescape

# Every repetition is bounded: a line of a hundred thousand stars must not take a minute.
TOKEN = re.compile(
    r"(?P<ticks>(?<!`)`{1,3}(?!`))(?P<code>.{1,2000}?)(?<!`)(?P=ticks)(?!`)"
    r"|\\(?P<literal>[!-/:-@\[-`{-~])"
    r"|!?\[(?P<label>(?:[^\[\]\\]|\\.|\[[^\[\]]{0,200}\]){0,500})\]"
    r"\(\s*<?(?P<url>[^\s<>()]{0,2000}(?:\([^\s<>()]{0,500}\)[^\s<>()]{0,500})?)>?"
    r"(?:\s+(?:\"[^\"]{0,300}\"|'[^']{0,300}'))?\s*\)"
    r"|<(?P<auto>(?:https?://|mailto:)[^\s<>|]{1,2000})>"
    r"|(?P<two>\*\*|(?<!\w)__)(?=\S)(?P<strong>.{1,600}?)(?<=\S)(?P=two)(?!\*)"
    r"|~~(?=\S)(?P<gone>.{1,600}?)(?<=\S)~~"
    r"|\*(?=[^\s*])(?P<star>.{1,600}?)(?<=[^\s*])\*(?!\*)"
    r"|(?<!\w)_(?=[^\s_])(?P<under>.{1,600}?)(?<=[^\s_])_(?!\w)"
)
# Only these schemes become links: `[x](!channel)` would otherwise turn into a mention.
LINKABLE = re.compile(r"(?:https?://|mailto:)[^\s]+", re.IGNORECASE)
MENTION = re.compile(r"<[^<>|\s]+|@(?=(?:channel|here|everyone|group)(?![^\W_]))", re.IGNORECASE)
# Not to be seen, yet no longer the word that Slack looks for.
ZERO_WIDTH_SPACE = "\u200b"
DEEPEST = 6


def inline(text: str, depth: int = 0) -> str:
    """One line of Markdown as mrkdwn, its own `&`, `<` and `>` escaped."""
    parts, end = [], 0
    for token in TOKEN.finditer(text):
        parts.append(_words(text[end : token.start()]))
        parts.append(_token(token, depth) if depth < DEEPEST else _words(token[0]))
        end = token.end()
    parts.append(_words(text[end:]))
    return "".join(parts)


def plain(text: str, depth: int = 0) -> str:
    """One line of Markdown without its markup and not escaped; links keep their address."""
    parts, end = [], 0
    for token in TOKEN.finditer(text):
        parts.append(unescape(text[end : token.start()]))
        parts.append(_bare(token, depth) if depth < DEEPEST else token[0])
        end = token.end()
    parts.append(unescape(text[end:]))
    return "".join(parts)


def escaped(text: str) -> str:
    """Text with the three characters escaped that Slack reads as its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def defused(message: str) -> str:
    """A message in which nobody is called: an invisible space follows the @ of @channel, @here, @everyone.

    Addresses of links stay as they are: there it would lead elsewhere, and Slack looks for no mention.
    """
    return MENTION.sub(lambda found: found[0] if found[0] != "@" else "@" + ZERO_WIDTH_SPACE, message)


def _words(text: str) -> str:
    return escaped(unescape(text)).replace("```", "'''")


def _token(token: re.Match[str], depth: int) -> str:
    if (code := token["code"]) is not None:
        return f"`{escaped(_code(code))}`"
    if (literal := token["literal"]) is not None:
        return escaped(literal)
    if (url := token["auto"]) is not None:
        return f"<{escaped(url)}>"
    if (url := token["url"]) is not None:
        return _link(plain(token["label"], depth + 1), unescape(url))
    if (strong := token["strong"]) is not None:
        return f"*{_inner(strong, depth)}*"
    if (gone := token["gone"]) is not None:
        return f"~{_inner(gone, depth)}~"
    return f"_{_inner(token['star'] or token['under'], depth)}_"


def _inner(text: str, depth: int) -> str:
    return inline(text, depth + 1)


def _link(label: str, url: str) -> str:
    label = label.strip()
    if not LINKABLE.fullmatch(url):
        return escaped(f"{label} ({url})" if label and url else label or url)
    address = escaped(url.replace("|", "%7C"))
    shown = escaped(label.replace("|", "¦"))
    return f"<{address}|{shown}>" if shown and label != url else f"<{address}>"


def _bare(token: re.Match[str], depth: int) -> str:
    if (code := token["code"]) is not None:
        return _code(code)
    if (literal := token["literal"]) is not None:
        return literal
    if (url := token["auto"]) is not None:
        return url
    if (url := token["url"]) is not None:
        label = plain(token["label"], depth + 1).strip()
        return f"{label} ({url})" if label and url and label != url else label or url
    inner = token["strong"] or token["gone"] or token["star"] or token["under"]
    return plain(inner, depth + 1)


def _code(text: str) -> str:
    # CommonMark: one space at both ends only makes room for backticks within.
    inner = text[1:-1] if text.startswith(" ") and text.endswith(" ") and text.strip() else text
    return inner.replace("`", "'")
