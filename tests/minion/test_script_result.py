"""What a script printed is cut only after secrets were taken out: half of one is known to nobody."""

from __future__ import annotations

from minion.engines.base import TaskResult
from minion.engines.script import CUT_EDGE, LOGGED, WORDS_OF_FAILURE, read_result
from minion.sandbox.tool_client import ToolResult
from server.contract.redaction import Redactor

SECRET = "canary-Zt4wq9LmX2vB7kPd-canary"
MOST = 1_000


def said_of(stderr: str, exit_: int) -> tuple[str, str]:
    result = read_result(ToolResult(exit_, b"", stderr.encode(), 0, None, 5), Redactor([SECRET]).data, MOST)
    return result.log, result.why or ""


def test_a_secret_on_the_edge_of_what_is_kept_leaves_no_part_of_itself() -> None:
    for kept in (LOGGED, WORDS_OF_FAILURE):
        for into in range(1, len(SECRET)):
            log, why = said_of("x" * 100 + SECRET + "y" * (kept - into), 3)
            assert not any(SECRET[place : place + 6] in log + why for place in range(len(SECRET) - 5))


def test_the_end_of_a_long_stderr_is_kept_and_what_was_left_out_is_counted() -> None:
    log, why = said_of("a" * 10 + "b" * LOGGED, 3)
    assert log == "… 10 characters before …\n" + "b" * LOGGED
    assert why == "exit 3: " + "b" * WORDS_OF_FAILURE
    assert said_of("all is well", 0) == ("all is well", "")


def test_the_edge_of_a_stderr_that_the_tool_host_cut_is_left_out_of_the_log_and_the_cut_is_told() -> None:
    kept = SECRET[4:] + "x" * CUT_EDGE + "the reason"
    result = read_result(ToolResult(5, b"", kept.encode(), 0, None, 5, 1_000), Redactor([SECRET]).data, MOST)
    assert result.log.startswith("… over 1000 bytes before …\nx")
    assert (result.why or "").endswith("the reason")
    assert SECRET[-6:] not in result.log


def test_a_cut_stderr_does_not_make_a_whole_json_result_a_cut_one() -> None:
    ended = ToolResult(0, b'{"text": "all"}', b"e" * 9_000, 0, None, 5, 1_000)
    result = read_result(ended, Redactor([]).data, MOST)
    assert (result.state, result.text, result.truncated) == ("completed", "all", 0)


def printed(stdout: str, most: int = MOST) -> TaskResult:
    """What a script's output comes to, of which the tool host fetched as much as it was asked to."""
    fetched, beyond = stdout.encode()[: most + CUT_EDGE], len(stdout.encode()) - most - CUT_EDGE
    return read_result(ToolResult(0, fetched, b"", max(0, beyond), None, 5), Redactor([SECRET]).data, most)


def test_a_secret_on_the_edge_of_capped_output_leaves_no_part_of_itself() -> None:
    for behind in (0, CUT_EDGE, 3 * CUT_EDGE):
        for into in range(1, len(SECRET)):
            for edge in (MOST, MOST + CUT_EDGE):
                # As many secrets before it as make the rest come nearer, once they were taken out.
                text = SECRET * (MOST // len(SECRET) - 1)
                text += "x" * (edge - into - len(text)) + SECRET + "y" * behind
                kept = printed(text).text
                assert not any(SECRET[place : place + 6] in kept for place in range(len(SECRET) - 5))


def test_output_is_capped_at_its_limit_to_the_byte_and_what_was_left_out_is_counted() -> None:
    for over in (1, CUT_EDGE, CUT_EDGE + 1, 5 * CUT_EDGE):
        for most in (1, MOST):
            result = printed("x" * (most + over), most)
            assert result.text == "x" * most + f"\n\n_(output capped: {over} more bytes were dropped)_\n"
            assert (result.state, result.truncated) == ("completed", over)
    assert printed("ä" * 501).text.startswith("ä" * 500 + "\n")
    assert printed("x" * MOST).text == "x" * MOST
    assert printed('{"text": "' + "x" * MOST + '"}').why == "its JSON result is 12 bytes over the output limit"
