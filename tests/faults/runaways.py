"""Agents that run away, each in its own way, and how a run with such an agent must end.

All are mild by their own nature, as the takers are: what writes or eats does so at a known rate, what forks or
streams ends by itself, so that a cap which does not hold is a failed test and not a lost machine.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.messages_api import Block, Fault, MessagesApi, Said, Turn, text, use

MIB: Final = 1024 * 1024
WALL_S: Final = 8.0
LIMITS: Final[Mapping[str, Any]] = {
    "wall_clock_s": 60, "turns": 40, "tokens": 50_000_000, "dollars": 100, "processes": 24, "disk_bytes": 16 * MIB,
    "memory_bytes": 512 * MIB,
}  # fmt: skip
# What a writer writes at most, each second.
RATE: Final = 64 * MIB
_ROUTINE: Final = re.compile(r"^# Routine ([a-z-]+)$", re.MULTILINE)
_TIME: Final = f"it passed its cap of {WALL_S:g} s"

# A hostile program's beats: so many a second, by the kernel's own timer; then it stays, until it is ended.
_BEATS: Final = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
def beats(a_second):
    signal.setitimer(signal.ITIMER_REAL, 1 / a_second, 1 / a_second)
def beat():
    signal.sigwait({signal.SIGALRM})
def stay():
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.pause()
"""
_MANY: Final = f"""python3 -c "{_BEATS}
beats({RATE} / 65536)
for n in range(4096):
    beat(); open(f'f{{n}}', 'wb').write(bytes(65536))
stay()" """
_EMPTY: Final = f"""python3 -c "{_BEATS}
beats(100)
for n in range(20000):
    os.mkdir(f'd{{n}}')
    if n % 100 == 0: beat()
stay()" """
_EATS: Final = f"""python3 -c "{_BEATS}
held = []
beats(20)
for n in range(100):
    beat(); held.append(b'x' * 16000000)
stay()" """
_BOMB: Final = f"""python3 -c "{_BEATS}
beats(50)
for n in range(80):
    try:
        if os.fork() == 0:
            os.setsid()
            signal.alarm(10)
            beat()
            os._exit(0)
    except OSError: beat()
stay()" """


@dataclass(frozen=True, slots=True)
class Runaway:
    """A kind of running away: what the model says each time, how its run must end, and what is said of the cap.

    `why` may name several, with `|` between: one of them is said. `limits` are those that differ; `served` is what
    a request comes to instead of an answer.
    """

    says: Callable[[], Said]
    state: str
    why: str
    limits: Mapping[str, Any] = field(default_factory=dict)
    served: str = ""


def _bash(command: str, **more: Any) -> list[Block]:
    return [use("bash", command=command, **{"timeout_s": 600, **more})]


def _in_time(says: Callable[[], Said], served: str = "") -> Runaway:
    return Runaway(says, "timed_out", _TIME, {"wall_clock_s": WALL_S}, served)


def _in_turns(says: Callable[[], Said], turns: int = 8) -> Runaway:
    return Runaway(says, "failed", f"cap of {turns} turns", {"turns": turns})


_PROCESSES: Final = f"it passed its cap of {LIMITS['processes']} processes"
_DISK: Final = "it passed its cap of 16 MiB on the disk"
_MEMORY: Final = "it passed its cap of 512 MiB of memory"
KINDS: Final[Mapping[str, Runaway]] = {
    "repeats": _in_turns(lambda: _bash("true")),
    "pauses": _in_turns(lambda: Turn([text("One moment.")], stop="pause_turn")),
    "is-cut-off": Runaway(
        lambda: Turn([text("And then"), *_bash("true")], stop="max_tokens"), "failed", "three times in a row"
    ),
    "is-dear": Runaway(
        lambda: Turn(_bash("true"), usage={"output_tokens": 2000}), "failed", "cap of $0.2|limit of dollars",
        {"dollars": 0.2},
    ),
    "is-wordy": Runaway(
        lambda: Turn(_bash("true"), usage={"output_tokens": 5000}), "failed",
        "cap of 60,000 tokens|limit of tokens", {"tokens": 60_000},
    ),
    "spends-the-day": Runaway(
        lambda: Turn(_bash("true"), usage={"output_tokens": 2000}), "failed", "for today are used up"
    ),
    "sleeps": _in_time(lambda: _bash("sleep 1000")),
    "is-deaf": _in_time(lambda: _bash("trap '' TERM INT HUP; while :; do sleep 1; done")),
    "sleeps-in-parallel": _in_time(lambda: _bash("sleep 1") * 200),
    "spews": _in_time(lambda: _bash("yes 'all work and no play' | tee /dev/stderr")),
    "forks": Runaway(lambda: _bash("for n in $(seq 60); do sleep 30 & done; wait"), "failed", _PROCESSES),
    "bombs": Runaway(lambda: _bash(_BOMB), "failed", _PROCESSES),
    "leaves-daemons": Runaway(
        lambda: _bash("for n in 1 2; do (setsid nohup sleep 600 >/dev/null 2>&1 &); done"), "failed",
        "cap of 8 turns", {"turns": 8},
    ),
    "fills-with-many": Runaway(lambda: _bash(_MANY), "failed", _DISK),
    "fills-with-one": Runaway(
        lambda: _bash("head -c 1G /dev/zero > $RANDOM; head -c 1G /dev/zero > b"), "failed", _DISK
    ),
    "fills-with-nothing": Runaway(lambda: _bash(_EMPTY), "failed", _DISK),
    "says-too-much": Runaway(
        lambda: [use("write", path="large", content="x" * 1_900_000), text("y" * 1_900_000)], "failed", _DISK
    ),
    "eats": Runaway(lambda: _bash(_EATS), "failed", _MEMORY),
    "drips": _in_time(lambda: [text("never said")], "drips"),
    "is-silent": _in_time(lambda: [text("never said")], "hangs"),
    "gushes": _in_time(lambda: [text("never said")], "gushes"),
    "is-throttled": Runaway(
        lambda: [text("never said")], "interrupted", "rate limit is reached (429)", served="429"
    ),
    "is-overloaded": Runaway(
        lambda: [text("never said")], "interrupted", "overloaded (529)", served="529"
    ),
    "asks": _in_turns(
        lambda: [use("ask_decision", question="May I?"), use("record_gap", gap_type="tool", requested_code="TSK-X",
                                                             description="I want it.")] * 50
    ),
    "stages": _in_turns(
        lambda: [use("stage_effect", kind="file", target="x.md", body="x"), use("nothing-of-the-kind")] * 50
    ),
}  # fmt: skip


def routine_of(asked: Mapping[str, Any]) -> str:
    """The routine that a request's conversation is about."""
    match = _ROUTINE.search(asked["messages"][0]["content"][0]["text"])
    return match[1] if match is not None else ""


def run_away(asked: dict[str, Any]) -> Said:
    """The model of all of them: it never ends its turn, and never makes a report."""
    return _numbered(KINDS[routine_of(asked)].says(), len(asked["messages"]))


def _numbered(said: Said, turn: int) -> Said:
    """Questions and gaps that differ each time: what is asked twice is asked once."""
    if isinstance(said, Turn):
        return said
    numbered = []
    for place, block in enumerate(said):
        words = {name: f"{value} {turn}.{place}" for name, value in block.get("input", {}).items()
                 if name in ("question", "description")}  # fmt: skip
        numbered.append({**block, "input": {**block["input"], **words}} if words else block)
    return numbered


def set_loose(api: MessagesApi, over: threading.Event) -> None:
    """Have an API serve what the routine's kind says instead of answers, until it is `over`."""
    handler: Any = api.RequestHandlerClass

    class Loose(handler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError, json.JSONDecodeError):  # who asked was stopped meanwhile
                super().handle()

        def _converse(self, asked: dict[str, Any]) -> None:
            served = KINDS[routine_of(asked)].served
            if served in ("429", "529"):
                kind = "rate_limit_error" if served == "429" else "overloaded_error"
                headers = {"retry-after": "0"} if served == "429" else {}
                self.server.faults.append(Fault(int(served), kind, headers=headers))
            elif served == "hangs":
                over.wait(60)
            elif served:
                self._stream(piece=16 if served == "drips" else MIB, each_s=0.05)
                return
            super()._converse(asked)

        def _stream(self, *, piece: int, each_s: float) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.close_connection = True
            message = {
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": [],
                "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 1},
            }  # fmt: skip
            self._say("message_start", message=message)
            self._say("content_block_start", index=0, content_block=text(""))
            for _ in range(1200):
                self._say("content_block_delta", index=0, delta={"type": "text_delta", "text": "x" * piece})
                if over.wait(each_s):
                    return

        def _say(self, type_: str, **more: Any) -> None:
            said = json.dumps({"type": type_, **more})
            self.wfile.write(f"event: {type_}\ndata: {said}\n\n".encode())

    api.RequestHandlerClass = Loose
