"""What a processor can reach besides its frame: its stream, the log, seeded randomness, the page."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import numpy as np

from framegate._result import Refusal, encode_json

#: Longest message to the page, in bytes of JSON: the interface's limit.
MESSAGE_BYTES_MAX = 16 << 10

#: Log levels as the C interface numbers them.
LEVELS = {"error": 1, "warn": 2, "info": 3, "debug": 4}


def _print_log(level: str, text: str) -> None:
    print(f"{level}: {text}", file=sys.stderr)


def _no_page(_: bytes) -> None:
    return None


@dataclass(eq=False)
class Stream:
    """The stream an instance serves; the argument of a processor class's ``__init__``.

    Valid as long as the instance. Its functions may be called from any thread.
    """

    #: Public name of the stream.
    name: str = "test"
    #: Folder the processor's file lies in: readable, for its models.
    folder: Path = field(default_factory=Path.cwd)
    #: What :func:`random` is seeded with.
    seed: int = 1
    _write_log: Callable[[str, str], None] = field(default=_print_log, repr=False)
    _write_message: Callable[[bytes], None] = field(default=_no_page, repr=False)
    _generator: np.random.Generator | None = field(default=None, repr=False)

    def random(self) -> np.random.Generator:
        """The stream's own random generator: a repeated run repeats what it gives."""
        if self._generator is None:
            self._generator = np.random.default_rng(self.seed)
        return self._generator

    def send(self, message: Any) -> None:
        """Sends any JSON value of at most 16 KiB to the page; more than 20 a second are left out and counted.

        Raises ``ValueError`` when it is too large or no JSON.
        """
        try:
            text = encode_json(message, "message")
        except Refusal as refusal:
            raise ValueError(refusal.text) from None
        if len(text) > MESSAGE_BYTES_MAX:
            raise ValueError(f"a message of {len(text)} bytes; at most {MESSAGE_BYTES_MAX} are sent")
        self._write_message(text)


#: The stream whose processor runs now. In an engine of its own it never changes.
_current: Stream = Stream()


def enter(stream: Stream) -> None:
    """Makes ``stream`` the one that the functions of this module mean."""
    global _current
    _current = stream


def current() -> Stream:
    """The stream whose processor runs now."""
    return _current


class Log:
    """Writes lines to framegate's log and the page. From any thread; cut at 1 KiB."""

    def error(self, text: object) -> None:
        """A person must act."""
        _current._write_log("error", str(text))

    def warn(self, text: object) -> None:
        """Something recovered."""
        _current._write_log("warn", str(text))

    def info(self, text: object) -> None:
        """Good to know."""
        _current._write_log("info", str(text))

    def debug(self, text: object) -> None:
        """For the author."""
        _current._write_log("debug", str(text))


#: Framegate's log.
log = Log()


def random() -> np.random.Generator:
    """The random generator of the stream that is being processed, seeded so that a repeated run repeats it."""
    return _current.random()


def send(message: Any) -> None:
    """Sends a message to the page of the stream that is being processed: see :meth:`Stream.send`."""
    _current.send(message)


def decode_message(text: bytes) -> Any:
    """The value of a message from the page."""
    return json.loads(text)
