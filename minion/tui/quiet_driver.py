"""Textual's driver of a terminal, but that it sleeps until somebody types: an idle view takes no processor time.

Textual itself looks ten times a second whether a key that may be the beginning of another one stays alone. That is
needed for a moment after a key, and a view may stand open for months.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from codecs import getincrementaldecoder
from typing import Final

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

# How often it is looked after a key, and for how long: longer than any sequence of keys is waited for.
_LOOK_S: Final = 0.1
_AFTER_S: Final = 2.0
_CHUNK: Final = 4096


class QuietDriver(LinuxDriver):
    """Reads keys as its base does; between them it waits without looking."""

    _wake: int | None = None

    def run_input_thread(self) -> None:
        """Hand keys on until the driver ends its input."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")().decode
        asleep, self._wake = os.pipe()
        until = 0.0
        try:
            with selectors.SelectSelector() as selector:
                for descriptor in (self.fileno, asleep):
                    selector.register(descriptor, selectors.EVENT_READ)
                while not self.exit_event.is_set():
                    ready = selector.select(_LOOK_S if time.monotonic() < until else None)
                    if any(key.fd == self.fileno for key, _ in ready):
                        data = os.read(self.fileno, _CHUNK)
                        if not data:  # the terminal has gone away
                            return
                        until = time.monotonic() + _AFTER_S
                        for event in parser.feed(decode(data)):
                            self.process_message(event)
                    for event in parser.tick():
                        self.process_message(event)
        finally:
            wake, self._wake = self._wake, None
            for descriptor in (asleep, wake):
                os.close(descriptor)
            with contextlib.suppress(EOFError, ParseError):
                list(parser.feed(""))

    def disable_input(self) -> None:
        """End the input; who waits for a key is woken first."""
        self.exit_event.set()
        if (wake := self._wake) is not None:
            with contextlib.suppress(OSError):  # it has ended by itself meanwhile
                os.write(wake, b".")
        if self._key_thread is not None:
            self._key_thread.join()
        self.exit_event.clear()
        super().disable_input()
