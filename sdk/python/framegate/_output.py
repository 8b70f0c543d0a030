"""Standard output and error of a processor: lines into its engine's output pipe, which never blocks."""

from __future__ import annotations

import io
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

#: Places whose tracebacks are remembered, so that one on every frame is written once a second.
PLACES_MAX = 256
#: Least time between two tracebacks of one place, in seconds.
REPEAT_S = 1.0
#: Longest text of an exception in a result, in characters.
TEXT_MAX = 800


class Pipe(io.RawIOBase):
    """Writes to a descriptor and drops what a full pipe does not take: a print must neither block nor fail."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def write(self, data: Any, /) -> int:
        size = len(data)
        try:
            os.write(self.descriptor, data)
        except OSError:
            # The pipe is full or nobody reads it any more.
            pass
        return size


def redirect() -> tuple[Pipe, Pipe]:
    """Makes `print`, warnings and tracebacks go through pipes of ours, line by line."""
    pipes = Pipe(1), Pipe(2)
    streams = [
        io.TextIOWrapper(io.BufferedWriter(pipe, 8192), "utf-8", "backslashreplace", line_buffering=True) for pipe in pipes
    ]
    sys.stdout, sys.stderr = streams
    return pipes


def flush() -> None:
    """Writes what an unfinished line holds back."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # Closed by the processor.
            pass


def place(error: BaseException, folder: Path) -> str:
    """Where an exception comes from: the innermost line in the author's own folder, else the innermost."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(f"{folder}/")]
    if not frames:
        return ""
    chosen = (own or frames)[-1]
    return f" ({os.path.basename(chosen.filename)}:{chosen.lineno})"


def describe(error: BaseException, folder: Path) -> str:
    """One line for an exception: `ValueError: … (faces.py:12)`."""
    where = place(error, folder)
    text = " ".join("".join(traceback.format_exception_only(type(error), error)).split())
    return text[:TEXT_MAX] + where


class Tracebacks:
    """Writes tracebacks to standard error, each place at most once a second."""

    def __init__(self) -> None:
        self._written: dict[str, float] = {}

    def write(self, error: BaseException, folder: Path) -> None:
        """Writes the traceback of `error` unless one of the same place was written just now."""
        where, now = place(error, folder), time.monotonic()
        if now - self._written.get(where, -REPEAT_S) < REPEAT_S:
            return
        if len(self._written) >= PLACES_MAX:
            self._written.clear()
        self._written[where] = now
        frames = traceback.extract_tb(error.__traceback__)
        ours = os.path.dirname(__file__)
        shown = [frame for frame in frames if not frame.filename.startswith(ours)]
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(shown)]
        lines += traceback.format_exception_only(type(error), error)
        sys.stderr.write("".join(lines))
        sys.stderr.flush()
