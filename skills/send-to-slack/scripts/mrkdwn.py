"""Turns Markdown into Slack's mrkdwn: blocks line by line, mentions defused, at most 35,000 characters."""

import re
from collections.abc import Iterator

from inline import defused, escaped, inline, plain
from tables import is_rule, table

# Slack cuts a message's text off at 40,000 characters; the rest is room for its own counting of entities.
LIMIT = 35_000
# Markdown longer than this cannot end up within the limit; the rest is not even converted.
SOURCE_LIMIT = 2 * LIMIT
NOTE_ROOM = 120

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
TERMINAL_ESCAPE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[^`]*")
HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})")
ITEM = re.compile(r"([ \t]*)(?:([-*+])|(\d{1,9}[.)]))[ \t]+(?:\[([ xX])\][ \t]+)?(.*)")
# Slack knows one level of quotes: all marks at once, which also leaves nothing to recurse into.
QUOTE = re.compile(r"(?: {0,3}>[ \t]?)+(.*)")
COMMENT = re.compile(r"<!--(?:(?!-->).){0,5000}-->", re.DOTALL)
LINE_ACROSS = "─" * 20


def to_mrkdwn(markdown: str) -> tuple[str, int]:
    """The message and how many characters of the Markdown it leaves out (0 when it is whole).

    The message has at most `LIMIT` characters; a cut falls between lines where it can, closes a code block,
    and is told in a last line.
    """
    text = TERMINAL_ESCAPE.sub("", markdown.replace("\r\n", "\n").replace("\r", "\n").expandtabs(4))
    text = COMMENT.sub("", CONTROL.sub("", text))
    kept, unread = text[:SOURCE_LIMIT], len(text[SOURCE_LIMIT:])
    lines = list(_blocks(kept.split("\n")))
    body = defused(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n"))
    if len(body) <= LIMIT and not unread:
        return body, 0
    short = _cut(body, LIMIT - NOTE_ROOM)
    left_out = max(1, len(body) - len(short) + unread)
    note = f"_Shortened: about {left_out:,} more characters do not fit into a Slack message._"
    return f"{short}\n{note}", left_out


def _blocks(lines: list[str]) -> Iterator[str]:
    position = 0
    while position < len(lines):
        line = lines[position]
        if FENCE.fullmatch(line):
            block, position = _fenced(lines, position)
            yield from block
        elif "|" in line and position + 1 < len(lines) and is_rule(lines[position + 1], line):
            end = position + 2
            while end < len(lines) and "|" in lines[end]:
                end += 1
            yield from table([line, *lines[position + 1 : end]])
            position = end
        else:
            yield _line(line)
            position += 1


def _fenced(lines: list[str], start: int) -> tuple[list[str], int]:
    opening = lines[start].strip()
    mark = opening[0] * (len(opening) - len(opening.lstrip(opening[0])))
    end = start + 1
    while end < len(lines) and not _closes(lines[end].strip(), mark):
        end += 1
    # Slack ends a block at the next three backticks, whatever stands around them.
    inner = [escaped(line.replace("```", "'''")) for line in lines[start + 1 : end]]
    return ["```", *inner, "```"], end + 1


def _closes(line: str, mark: str) -> bool:
    return line.startswith(mark) and not line.strip(mark[0])


def _line(line: str) -> str:
    if RULE.fullmatch(line):
        return LINE_ACROSS
    if heading := HEADING.fullmatch(line):
        title = escaped(plain(heading[1] or "")).replace("```", "'''")
        return f"*{title}*" if title.strip() else ""
    if quote := QUOTE.fullmatch(line):
        return "> " + _line(quote[1])
    if item := ITEM.fullmatch(line):
        indent, bullet, number, box, rest = item.groups()
        mark = {" ": "☐", "x": "☑", "X": "☑"}[box] if box else "•" if bullet else number
        return f"{'    ' * (len(indent) // 2)}{mark} {inline(rest)}"
    return inline(line.rstrip())


def _cut(body: str, limit: int) -> str:
    short = body[:limit]
    newline = short.rfind("\n")
    # Half a message is too much to give up for the sake of a whole line.
    short = short[:newline] if newline > limit // 2 else re.sub(r"(?:&[a-z]{0,4}|<[^<>]*)$", "", short)
    if short.count("```") % 2:
        short += "\n```"
    return short
