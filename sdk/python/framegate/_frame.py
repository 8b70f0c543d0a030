"""Frames: one decoded picture with what identifies it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Pixel formats as the C interface numbers them.
FORMATS = {"bgr": 1, "rgb": 2, "bgra": 3, "gray": 4, "i420": 5, "nv12": 6}
#: Their names.
FORMAT_NAMES = {number: name for name, number in FORMATS.items()}
#: Channels of the packed formats.
CHANNELS = {"bgr": 3, "rgb": 3, "bgra": 4}

Array = npt.NDArray[np.uint8]


class Frame:
    """One picture. ``image`` and ``planes`` are views of framegate's memory: valid until the processor returns.

    A view that is kept shows later frames: use ``frame.image.copy()``.
    """

    __slots__ = (
        "image",
        "planes",
        "format",
        "seq",
        "rtp",
        "capture_us",
        "dropped_before",
        "clock",
        "deadline",
        "writable",
        "resumed",
        "size_changed",
        "image_wanted",
    )

    #: The picture: ``(height, width, 3)`` for bgr and rgb, ``(…, 4)`` for bgra, ``(height, width)`` for gray; of i420 and
    #: nv12 the luma. Read-only unless the processor was declared ``writable``.
    image: Array
    #: All planes: of i420 Y, U, V; of nv12 Y and ``(height, width, 2)`` of U and V; else just ``image``.
    planes: tuple[Array, ...]
    #: One of bgr, rgb, bgra, gray, i420, nv12.
    format: str
    #: Number of the frame in its stream, from 1, counting those never seen.
    seq: int
    #: RTP timestamp, 90 000 Hz.
    rtp: int
    #: Capture time on the sender's clock in microseconds since 1970, or ``None`` while it is not known.
    capture_us: int | None
    #: Frames between the previous call and this one that were not given.
    dropped_before: int
    #: Seconds on a clock that never goes back; in ``framegate run`` the time in the clip.
    clock: float
    #: Seconds on the clock of ``time.monotonic()``; a result after it is of little use.
    deadline: float
    #: Whether ``image`` may be written.
    writable: bool
    #: Whether a new engine begins here in a running stream.
    resumed: bool
    #: Whether size or format are not those of the frame before.
    size_changed: bool
    #: Whether somebody looks at the picture that the processor returns.
    image_wanted: bool

    def __init__(self, image: Array, planes: tuple[Array, ...], format: str, seq: int) -> None:
        self.image, self.planes, self.format, self.seq = image, planes, format, seq
        self.rtp = self.dropped_before = 0
        self.capture_us = None
        self.clock = self.deadline = 0.0
        self.writable = self.resumed = self.size_changed = False
        self.image_wanted = True

    @property
    def width(self) -> int:
        """Pixels across."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Pixels down."""
        return int(self.image.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        return self.width, self.height

    def __repr__(self) -> str:
        return f"<Frame {self.seq}: {self.width}x{self.height} {self.format}>"
