"""What a script said on stderr is cut only after secrets were taken out: half of one is known to nobody."""

from __future__ import annotations

from minion.engines.script import LOGGED, WORDS_OF_FAILURE, read_result
from minion.sandbox.tool_client import ToolResult
from server.contract.redaction import Redactor

SECRET = "canary-Zt4wq9LmX2vB7kPd-canary"


def said_of(stderr: str, exit_: int) -> tuple[str, str]:
    result = read_result(ToolResult(exit_, b"", stderr.encode(), 0, None, 5), Redactor([SECRET]).data)
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
