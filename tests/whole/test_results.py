"""What a script's output means: Markdown, or one JSON object; what cannot be kept fails the skill, not the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minion.config import Home
from tests.whole.homes import events_of, make_home, performed, results_in, write_routine, write_skill

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        ("# A *title*\n\nand a line\n", "# A *title*\n\nand a line\n"),
        ('{"text": "from JSON", "data": {"a": 1}}', "from JSON"),
        ("{this only begins like JSON\n", "{this only begins like JSON\n"),
    ],
)
def test_what_a_script_prints_is_markdown_unless_it_is_one_json_object(
    shared: Home, printed: str, kept: str
) -> None:
    run = performed(shared, "task", given=f"print({printed!r}, end='')")
    assert results_in(shared, run)[0]["text"] == kept
    assert run["state"] == "completed"


def test_a_result_with_an_unknown_key_fails_the_skill_and_names_the_key(shared: Home) -> None:
    run = performed(shared, "task", given="answer(text='done', status='great')")
    assert (run["state"], run["verdict"]) == ("failed", "failed")
    assert "unknown key 'status'" in run["why"]
    assert "known: data, effects, text" in run["why"]


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ({"text": 3}, "text is not a string"),
        ({"data": [1]}, "data is not an object"),
        ({"effects": {"kind": "file"}}, "effects is not a list"),
        ({"effects": [{"kind": "file", "target": "a"}, {"kind": "file"}]}, "effect 2 needs kind and target"),
        ({"effects": [{"kind": "file", "target": "a", "body": 1}]}, "effect 1 has a value that is not a string"),
        ({"effects": [{"kind": "tweet", "target": "world"}]}, "effect 1 is of kind 'tweet' (known: push, "),
        ({"effects": [{"kind": "file", "target": "a"}] * 101}, "effects is not a list of at most 100"),
    ],
)
def test_a_result_of_another_shape_fails_the_skill_and_names_what_is_wrong(
    shared: Home, result: dict[str, object], problem: str
) -> None:
    run = performed(shared, "task", given=f"print({json.dumps(result)!r})")
    assert (run["state"], run["effects"]) == ("failed", [])
    assert run["why"].startswith(f"act: its result is not understood: {problem}")


@pytest.mark.parametrize(
    "printed",
    [
        r'{"text": "half a pair \ud800 of surrogates"}',
        r'{"effects": [{"kind": "file", "target": "a", "body": "\udfff"}]}',
        '{"data": {"x": NaN}}',
        '{"data": {"x": 1e999}}',
        '{"data": {"x": ' + "[" * 700 + "]" * 700 + "}}",
    ],
)
def test_a_result_that_cannot_be_written_down_fails_the_skill_and_never_the_runner(
    shared: Home, printed: str
) -> None:
    run = performed(shared, "task", given=f"sys.stdout.write({printed!r})")
    assert (run["state"], run["verdict"]) == ("failed", "failed")
    assert "its result is not understood: it " in run["why"]
    assert len(events_of(shared, run, "report")) == 1


@pytest.mark.promise("ENV-7")
def test_a_large_result_lies_beside_the_log_and_reaches_the_next_skill_whole(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    rows = {"rows": ["x" * 100] * 6000, "k" * 300_000: "a long key"}
    data = "{'rows': ['x' * 100] * 6000, 'k' * 300_000: 'a long key'}"
    write_skill(home, "make", f"answer(text=chr(0) * 100_000, data={data})")
    write_skill(home, "count", "made = task['results'][0]; print(len(made['text']), len(made['data']['rows']))")
    write_routine(home, "large", "make", "count", limits={"output_bytes": 4_000_000})
    run = performed(home, "large")
    assert (run["state"], results_in(home, run)[1]["text"]) == ("completed", "100000 6000\n")
    (made, _) = events_of(home, run, "skill.result")
    assert json.loads(Path(run["folder"], made["data"]["file"]).read_bytes()) == rows
    assert Path(run["folder"], made["text"]["file"]).read_text() == "\0" * 100_000
    assert max(len(line) for line in Path(run["folder"], "events.ndjson").read_bytes().splitlines()) < 100_000
