"""send-to-slack stages one message of the newest result, in Slack's markup, calling nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.skills.repositories import Repository, lines, report_on
from tests.skills.tasks import completed, run_skill

pytestmark = pytest.mark.heavy

LIMIT = 35_000


def sent(markdown: str) -> str:
    """The body of the one message that is staged for this Markdown."""
    result = run_skill("send-to-slack", results=[completed(markdown)]).result
    (effect,) = result["effects"]
    assert {"kind": effect["kind"], "target": effect["target"]} == {"kind": "message", "target": "slack"}
    assert set(effect) == {"kind", "target", "body"}
    assert isinstance(effect["body"], str)
    return effect["body"]


def test_the_newest_completed_result_is_staged_and_the_result_says_so() -> None:
    results = [
        completed("older", skill="first"),
        completed("newest", skill="second"),
        completed("  \n", skill="silent"),
        {"skill": "third", "state": "failed", "text": "broken"},
    ]
    result = run_skill("send-to-slack", results=results, input="asked").result
    assert result["effects"] == [{"kind": "message", "target": "slack", "body": "newest"}]
    assert result["text"] == "Staged 1 message for slack: 6 characters from second."
    assert set(result) == {"text", "data", "effects"}


@pytest.mark.parametrize(
    ("given", "content", "body"),
    [("asked", "standing", "asked"), (None, "standing", "standing"), ("", "x", "x")],
)
def test_without_a_result_the_input_is_sent_else_the_content(
    given: str | None, content: str, body: str
) -> None:
    routine = {"name": "r", "content": content}
    result = run_skill("send-to-slack", input=given, routine=routine).result
    assert result["effects"][0]["body"] == body


@pytest.mark.parametrize(
    "results", [[], [completed("")], [{"skill": "x", "state": "failed", "text": "broken"}]]
)
def test_with_nothing_to_send_the_skill_fails_with_one_sentence(results: list[dict[str, Any]]) -> None:
    ended = run_skill("send-to-slack", results=results)
    assert (ended.exit, ended.out) == (1, b"")
    assert ended.log == "There is nothing to send: no completed result, no input and no content has text.\n"


def test_a_text_of_nothing_that_can_be_shown_is_nothing_to_send() -> None:
    ended = run_skill("send-to-slack", results=[completed("<!-- only a comment -->\n")])
    assert (ended.exit, ended.out) == (1, b"")


@pytest.mark.parametrize(
    ("markdown", "mrkdwn"),
    [
        ("# Head", "*Head*"),
        ("### Head **bold** `code` ###", "*Head bold code*"),
        ("**b** and __b__", "*b* and *b*"),
        ("*i* and _i_", "_i_ and _i_"),
        ("**b *i* b**", "*b _i_ b*"),
        ("~~gone~~", "~gone~"),
        ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
        ("`a < b **c**`", "`a &lt; b **c**`"),
        ("``a`b``", "`a'b`"),
        ("[text](https://e.com/a?x=1&y=2)", "<https://e.com/a?x=1&amp;y=2|text>"),
        ("[a|b > c](https://e.com/a|b)", "<https://e.com/a%7Cb|a¦b &gt; c>"),
        ("[wiki](https://e.com/a_(b))", "<https://e.com/a_(b)|wiki>"),
        ('![logo](https://e.com/i.png "t")', "<https://e.com/i.png|logo>"),
        ("<https://e.com/x>", "<https://e.com/x>"),
        ("[mail](mailto:a@e.com)", "<mailto:a@e.com|mail>"),
        ("[local](docs/a.md)", "local (docs/a.md)"),
        ("- a\n  - b\n* c\n+ d", "• a\n    • b\n• c\n• d"),
        ("1. a\n2) b", "1. a\n2) b"),
        ("- [ ] open\n- [x] done", "☐ open\n☑ done"),
        ("> quote **b**\n> > deep", "> quote *b*\n> deep"),
        ("---", "─" * 20),
        ("a & b < c > d", "a &amp; b &lt; c &gt; d"),
        ("&lt;b&gt; &amp; \\*", "&lt;b&gt; &amp; *"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("a\r\nb", "a\nb"),
        ("x <!-- hidden --> y", "x  y"),
        ("\x1b[31mred\x1b[0m\x07", "red"),
        ("```python\na < b  # **x**\n```", "```\na &lt; b  # **x**\n```"),
        ("~~~\n```\n~~~", "```\n'''\n```"),
        ("text ``` text", "text ''' text"),
    ],
)
def test_markdown_becomes_slack_markup(markdown: str, mrkdwn: str) -> None:
    assert sent(f"first\n{markdown}\nlast") == f"first\n{mrkdwn}\nlast"


def test_a_block_of_code_that_is_never_closed_is_closed() -> None:
    assert sent("```\ncode") == "```\ncode\n```"


def test_a_table_becomes_an_aligned_block_of_code() -> None:
    markdown = "| Name | Lines |\n|:--|--:|\n| `a\\|b` | **1,204** |\n| 日本 | 7 |\n| <x> |"
    assert sent(markdown) == ("```\nName  Lines\n────  ─────\na|b   1,204\n日本      7\n&lt;x&gt;\n```")


@pytest.mark.parametrize(
    "markdown",
    [
        "<!channel> <!here> <!everyone> <!subteam^S1> <@U123> <#C123>",
        "&lt;!channel&gt; &#60;!here&#62; \\<!everyone>",
        "`<!channel>` and ``<!here>``",
        "```\n<!channel> @here\n```",
        "| a | b |\n|---|---|\n| <!channel> | @everyone |",
        "# <!channel> @channel",
        "[x](!channel) [x](<!here>) [x](@here) [x](#C1) <!channel|x>",
        "[<!channel>](https://e.com) [@here](https://e.com)",
        "@channel @Here @EVERYONE (@group) \\@here *@*here @&#104;ere",
        "<https://e.com|<!channel>> <https://e.com/><!channel>",
        "<!chan\x00nel> @he\x07re",
        "<!-- --><!channel>",
        "**<!channel>** _@here_ ~~@everyone~~ > <!here>",
    ],
)
def test_nobody_is_called_whatever_the_text_says(markdown: str) -> None:
    body = sent(f"{markdown} end")
    for part in body.split("<")[1:]:
        assert part.startswith(("https://", "mailto:")), body
    lowered = body.lower()
    assert not any(f"@{word}" in lowered for word in ("channel", "here", "everyone", "group"))


def test_the_address_of_a_link_is_left_as_it_is() -> None:
    assert sent("[post](https://e.com/@here/1)") == "<https://e.com/@here/1|post>"


def test_a_text_at_the_limit_is_whole() -> None:
    text = "\n".join(["x" * 99] * 350)
    assert sent(text) == text


@pytest.mark.parametrize(
    "markdown",
    [
        "line of text\n" * 20_000,
        "x" * 300_000,
        "&" * 40_000,
        "[a](https://e.com/" + "b" * 1_900 + ") " * 30 + "x" * 40_000,
        "```\n" + "code\n" * 20_000 + "```",
        "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 9_000,
    ],
    ids=["lines", "one line", "entities", "link", "code", "table"],
)
def test_a_long_text_is_cut_with_a_note_and_nothing_is_left_open(markdown: str) -> None:
    ended = run_skill("send-to-slack", results=[completed(markdown)])
    body = ended.result["effects"][0]["body"]
    assert LIMIT - 1_000 < len(body) <= LIMIT
    *whole, note = body.split("\n")
    assert note.startswith("_Shortened: about ") and note.endswith("do not fit into a Slack message._")
    assert body.count("```") % 2 == 0
    assert not "\n".join(whole).endswith(("&", "&a", "&am", "&amp"))
    assert ended.result["data"]["left_out"] > 0
    assert "shortened by" in ended.result["text"]


@pytest.mark.parametrize(
    "unit", ["*a ", "[a](", "**", "`", "_a", "![", "~~", "[[", "\\", "> ", "***a", "``` ", "<", "- "]
)
def test_a_line_of_nothing_but_openers_is_converted_all_the_same(unit: str) -> None:
    assert run_skill("send-to-slack", results=[completed("x" + unit * 30_000)]).exit == 0


def test_the_daily_report_arrives_with_its_numbers(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("src/a_b.py", lines(3))
    shop.write("README.md", lines(1))
    sha = shop.commit("fix: a < b & *c* in `x`")
    body = sent(report_on(shop).result["text"])
    assert body.startswith("*shop: 1 commit by Ada Lovelace*\n")
    assert "\nArea         Commits  Files  Lines\n" in body
    assert f"• {sha[:8]} `fix: a &lt; b &amp; *c* in 'x'` (+4 −0 in 2 files)" in body  # noqa: RUF001
