"""One conversation with a model, kept line by line in the run's folder, so that an interrupted run can go on.

`transcript.ndjson` (0600) has a line for each message as it was sent or said, one for each thing a task has come
to so far, and one for each thing that a run may do only so often. What a secret was is not in it: texts are
redacted before they become part of a conversation.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from server.contract.digest import canonical_json

TRANSCRIPT: Final = "transcript.ndjson"
VERSION: Final = 1
# A task is a skill of the pipeline by its place from 1, the prompt (1), or the closing report (0).
REPORT_TASK: Final = 0
_LONGEST_LINE: Final = 64 * 1024 * 1024

Message = dict[str, Any]
Block = dict[str, Any]


@dataclass(slots=True)
class Progress:
    """What the task under way has come to: effects it staged, why it failed by its own word, its report."""

    effects: list[dict[str, Any]] = field(default_factory=list)
    failed: str | None = None
    claim: dict[str, Any] | None = None


class Conversation:
    """The messages so far, and the file that keeps them. `task` is the task of the last message, None at first."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / TRANSCRIPT
        self._file = -1
        self.messages: list[Message] = []
        self.task: int | None = None
        self.tasks: set[int] = set()
        self.progress = Progress()
        self._counts: Counter[str] = Counter()

    @classmethod
    def begun(cls, run_dir: Path) -> Conversation:
        """A new conversation; what an earlier attempt of the same run left is dropped. Raises `OSError`."""
        conversation = cls(run_dir)
        conversation._open(os.O_TRUNC)
        return conversation

    @classmethod
    def resumed(cls, run_dir: Path) -> Conversation:
        """The conversation as far as it was kept; half a line at its end is taken away. Raises `OSError`."""
        conversation = cls(run_dir)
        conversation._open(0)
        end = 0
        with conversation._path.open("rb") as file:
            for line in _lines(file):
                try:
                    conversation._recall(json.loads(line))
                except (ValueError, KeyError, TypeError, RecursionError):
                    break
                end += len(line)
        os.ftruncate(conversation._file, end)
        return conversation

    @property
    def size(self) -> int:
        """Characters that the model reads of it: from where the API summed it up last."""
        read = 0
        for message in reversed(self.messages):
            for block in reversed(message["content"]):
                read += len(str(block))
                if block.get("type") == "compaction":
                    return read
        return read

    def close(self) -> None:
        """Close the file; the messages stay."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def begin(self, task: int, opening: Sequence[Block]) -> None:
        """Begin a task with what it is told."""
        self.settle("it was not finished")
        self.task, self.progress = task, Progress()
        self.tasks.add(task)
        self.add("user", opening)

    def add(self, role: str, content: Sequence[Block]) -> None:
        """Add a message and keep it. Two of one role that follow each other become one, as the API wants it."""
        blocks = [dict(block) for block in content]
        self._keep({"task": self.task, "role": role, "content": blocks})
        self._append(role, blocks)

    def note(self) -> None:
        """Keep what the task has come to so far."""
        said = {"effects": self.progress.effects, "failed": self.progress.failed, "claim": self.progress.claim}
        self._keep({"task": self.task, "progress": said})

    def count(self, what: str, most: int) -> bool:
        """Count one more of what the run, with all its resumptions, may have `most` of; False when it had them."""
        if self._counts[what] >= most:
            return False
        self._counts[what] += 1
        self._keep({"task": self.task, "counts": self._counts})
        return True

    def settle(self, why: str) -> None:
        """Answer every tool call that has no answer: the API takes no conversation with one left open."""
        left = [block["id"] for block in self._open_calls()]
        if left:
            words = f"No result: {why}. It may have taken effect."
            self.add("user", [result(each, words, failed=True) for each in left])

    def _open_calls(self) -> list[Block]:
        """The calls of the last answer that have no result yet."""
        said = [message for message in self.messages[-2:] if message["role"] == "assistant"]
        if not said:
            return []
        after = self.messages[-1]["content"] if self.messages[-1]["role"] == "user" else []
        answered = {block["tool_use_id"] for block in after if block.get("type") == "tool_result"}
        calls = [block for block in said[-1]["content"] if block.get("type") == "tool_use"]
        return [block for block in calls if block["id"] not in answered]

    def _append(self, role: str, blocks: list[Block]) -> None:
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1] = {"role": role, "content": [*self.messages[-1]["content"], *blocks]}
        else:
            self.messages.append({"role": role, "content": blocks})

    def _recall(self, line: Mapping[str, Any]) -> None:
        if line["v"] != VERSION:
            raise ValueError("a transcript of another version")
        if line["task"] != self.task:
            self.task, self.progress = line["task"], Progress()
            self.tasks.add(line["task"])
        if "progress" in line:
            self.progress = Progress(**line["progress"])
        elif "counts" in line:
            self._counts = Counter({what: int(times) for what, times in line["counts"].items()})
        else:
            self._append(line["role"], list(line["content"]))

    def _open(self, flags: int) -> None:
        flags |= os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._path, flags, 0o600)

    def _keep(self, line: Mapping[str, Any]) -> None:
        body = memoryview(canonical_json({"v": VERSION, **line}).encode("utf-8", "replace") + b"\n")
        while body:
            body = body[os.write(self._file, body) :]


def text(words: str) -> Block:
    """A block of text."""
    return {"type": "text", "text": words}


def result(call: str, words: str, *, failed: bool = False) -> Block:
    """A block that answers a tool call."""
    block: Block = {"type": "tool_result", "tool_use_id": call, "content": words or "(nothing)"}
    return {**block, "is_error": True} if failed else block


def _lines(file: Any) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE):
        if not line.endswith(b"\n"):
            return
        yield line
