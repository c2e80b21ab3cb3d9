"""Asks a person at a terminal, one question at a time, or nobody: then each question has its flag or default."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import TypeVar

import click

from server.contract.refusals import BadUse, Refusal

Answer = TypeVar("Answer")


class Questions:
    """The questions of one sitting. They stand on stderr: stdout is for what came of them."""

    def __init__(self, *, asks: bool) -> None:
        self.asks = asks
        self._heard = 0
        self._ended = False

    def until_answered(self, question: Callable[[], None]) -> None:
        """Ask a question of several parts until nothing of it is refused.

        Raises the refusal when nobody was asked: what the flags say would only be refused again.
        """
        while True:
            heard = self._heard
            try:
                return question()
            except Refusal as refusal:
                if self._ended or self._heard == heard:
                    raise
                self.refuse(refusal)

    def settle(self, words: str, said: str | None, default: str, check: Callable[[str], Answer]) -> Answer:
        """The checked answer: the flag's, else the person's, else the default.

        A person is asked again after a refusal. Raises the refusal of a flag or of a default that nobody chose.
        """
        if said is not None:
            return check(said)
        if not self.asks:
            return check(default)
        while True:
            line = self._line(f"{words} [{default}]: ") or default
            try:
                return check(line)
            except Refusal as refusal:
                self.refuse(refusal)

    def agreed(self, words: str, said: str | None, *, default: bool) -> bool:
        """A yes or no."""
        return self.settle(words, said, "yes" if default else "no", _yes_or_no)

    def hidden(self, words: str) -> bytes:
        """A line that is not shown while it is typed; empty for Enter. Raises `BadUse` at the input's end."""
        import getpass

        try:
            line = getpass.getpass(f"{words}: ", stream=sys.stderr)
        except EOFError:
            raise self._end() from None
        except UnicodeDecodeError:
            line = "\ufffd"
        self._heard += 1
        return line.strip().encode("utf-8", "surrogateescape")

    def say(self, words: str) -> None:
        """Something to read between two questions; nothing when nobody is asked."""
        if self.asks:
            click.echo(words, err=True)

    def refuse(self, refusal: Refusal) -> None:
        """Why the question is asked again."""
        self.say(f"     {click.style('✗', fg='red')} {refusal.sentence}")
        self.say(f"       {click.style('hint:', bold=True)} {refusal.hint}")

    def _line(self, prompt: str) -> str:
        click.echo(prompt, nl=False, err=True)
        line = sys.stdin.buffer.readline()
        if not line:
            raise self._end()
        self._heard += 1
        return line.decode("utf-8", "replace").strip()

    def _end(self) -> BadUse:
        click.echo("", err=True)
        self._ended = True
        return BadUse(
            "no_answer",
            "The answers ended before the last question; nothing was changed.",
            hint="give each answer by its flag; `minion setup --help` names them",
        )


def words_of(text: str) -> list[str]:
    """The words of a line, quoted ones whole, as in a shell that does nothing else. Raises `BadUse`."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise BadUse("open_quote", "A quote is not closed.", hint='write "two words" for one') from error


def one_of(*words: str) -> Callable[[str], str]:
    """A check that takes one of these words. It raises `BadUse`."""

    def check(text: str) -> str:
        if text not in words:
            known = ", ".join(dict.fromkeys(words))
            raise BadUse("bad_choice", f"{text[:40]!r} is none of the answers.", hint=f"write one of: {known}")
        return text

    return check


def _yes_or_no(text: str) -> bool:
    if text.lower() in ("y", "yes"):
        return True
    if text.lower() in ("n", "no"):
        return False
    raise BadUse("yes_or_no", f"{text[:40]!r} is neither yes nor no.", hint="write yes or no")
