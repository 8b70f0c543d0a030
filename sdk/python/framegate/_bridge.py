"""The Python end of the bridge to an engine: one session's packets, frames and answers.

Packets on a `SOCK_SEQPACKET` socket are little-endian structs; pictures lie in shared memory. `frames` is written by the
engine and holds pictures and states to load; `area` is written here and holds what is too large for a packet: bodies at
its beginning, pictures from `PICTURE_OFFSET` on. The engine's side is `bridge/packet.rs`.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np

# Seeded for every engine: a fork is given what is imported, and would else read files to import it.
import numpy.random

from framegate import _context, _output
from framegate._frame import CHANNELS, FORMAT_NAMES, FORMATS, Array, Frame
from framegate._processor import ClassInstance, Definition, FunctionInstance, instantiate, start
from framegate._result import Refusal, Said, encode

CREATE, SET, START, LOAD, SAVE, RECEIVE, CONFIGURE, PROCESS, DESTROY = range(1, 10)
DONE, REFUSED, RESULT, SAVED, LOG, SEND, DIED = 1, 2, 3, 4, 16, 17, 18

REQUEST = struct.Struct("<II")
LOAD_REQUEST = struct.Struct("<IIIIQQ")
CONFIGURE_REQUEST = struct.Struct("<IIIII")
PROCESS_REQUEST = struct.Struct("<12IQ4q" + 3 * "QIIII")
REPLY = struct.Struct("<12I")

#: Longest packet of the engine, in bytes: a message of 16 KiB and its header.
PACKET_BYTES_MAX = 32 << 10
#: A body up to this many bytes is inside the packet.
INLINE_BYTES_MAX = 32 << 10
#: Where bodies end and pictures begin in the area.
PICTURE_OFFSET = 1 << 20
#: Largest state, in bytes.
STATE_BYTES_MAX = 256 << 10
#: Layouts of frames that are remembered: those of a chain's processors.
VIEWS_MAX = 16
#: The engine's value for "not known".
CAPTURE_UNKNOWN = -(1 << 63)

WRITABLE, SIZE_CHANGED, RESUMED, IMAGE_WANTED = 1, 2, 4, 1 << 16
IMAGE_NONE, IMAGE_FRAME, IMAGE_AREA = 0, 1, 2


class Gone(Exception):
    """The engine has closed its end."""


class Session:
    """One engine's processors."""

    def __init__(
        self, bridge: socket.socket, frames: int, area: int, is_writable: bool, definitions: list[Definition], folder: Path
    ) -> None:
        self.socket = bridge
        self.is_done = False
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if is_writable else 0)
        self._frames = mmap.mmap(frames, 0, mmap.MAP_SHARED, protection)
        self._area = mmap.mmap(area, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        os.close(frames)
        os.close(area)
        self._definitions = definitions
        self._folder = folder
        self._instances: dict[int, FunctionInstance | ClassInstance] = {}
        self._streams: dict[int, _context.Stream] = {}
        self._packet = bytearray(PACKET_BYTES_MAX)
        self._views: dict[tuple[int, ...], tuple[Array, ...]] = {}
        self._warned: set[int] = set()
        self._tracebacks = _output.Tracebacks()

    def step(self) -> None:
        """Receives one request and answers it. Raises `Gone` when the engine has."""
        try:
            length = self.socket.recv_into(self._packet)
        except ConnectionError:
            raise Gone from None
        if length < REQUEST.size:
            raise Gone
        kind, processor = REQUEST.unpack_from(self._packet)
        if processor in self._streams:
            _context.enter(self._streams[processor])
        if kind == PROCESS:
            self._process(processor)
            return
        handle = {
            CREATE: self._create,
            SET: self._set,
            START: self._start,
            LOAD: self._load,
            SAVE: self._save,
            RECEIVE: self._receive,
            CONFIGURE: self._configure,
            DESTROY: self._destroy,
        }[kind]
        try:
            handle(processor, bytes(self._packet[REQUEST.size : length]))
        except Refusal as refusal:
            self._transmit(self._refusal(processor, refusal.code, refusal.text))
        except Exception as error:
            self._tracebacks.write(error, self._folder)
            self._transmit(self._refusal(processor, "exception", _output.describe(error, self._folder)))

    def close(self) -> None:
        """Lets go of everything, as after the engine's end."""
        self._instances.clear()
        self.socket.close()

    def _create(self, processor: int, body: bytes) -> None:
        asked = json.loads(body)
        definition = self._definitions[processor]
        stream = _context.Stream(
            asked["stream"], self._folder, asked["seed"], self._log, lambda text: self._send(processor, text)
        )
        if not self._instances:
            _seed(asked["seed"])
        self._streams[processor] = stream
        _context.enter(stream)
        self._instances[processor] = instantiate(definition, stream)
        self._answer(DONE, processor)

    def _set(self, processor: int, body: bytes) -> None:
        asked = json.loads(body)
        self._instances[processor].set(asked["index"], asked["value"])
        self._answer(DONE, processor)

    def _start(self, processor: int, body: bytes) -> None:
        start(self._instances[processor])
        self._answer(DONE, processor)

    def _load(self, processor: int, body: bytes) -> None:
        _, _, version, _, offset, length = LOAD_REQUEST.unpack(REQUEST.pack(LOAD, processor) + body)
        expected = self._definitions[processor].state_version
        if version != expected:
            raise Refusal("state", f"the state has version {version}, the processor's is {expected}")
        self._instances[processor].call("load", self._frames[offset : offset + length])
        self._answer(DONE, processor)

    def _save(self, processor: int, body: bytes) -> None:
        state = self._instances[processor].call("save")
        if state is None:
            self._answer(SAVED, processor)
            return
        if not isinstance(state, (bytes, bytearray, memoryview)):
            raise Refusal("state", f"save gave {type(state).__name__}; it gives bytes or None")
        if len(state) > STATE_BYTES_MAX:
            raise Refusal("state", f"a state of {len(state)} bytes, at most {STATE_BYTES_MAX}")
        self._answer(SAVED, processor, bytes(state), extra=self._definitions[processor].state_version)

    def _receive(self, processor: int, body: bytes) -> None:
        self._instances[processor].call("receive", _context.decode_message(body))
        self._answer(DONE, processor)

    def _configure(self, processor: int, body: bytes) -> None:
        _, width, height, _, _ = CONFIGURE_REQUEST.unpack(body)
        self._instances[processor].call("configure", width, height)
        self._answer(DONE, processor)

    def _destroy(self, processor: int, body: bytes) -> None:
        instance = self._instances.pop(processor, None)
        self.is_done = not self._instances
        if instance is not None:
            instance.call("close")
        _output.flush()
        self._answer(DONE, processor)

    def _process(self, processor: int) -> None:
        fields = PROCESS_REQUEST.unpack_from(self._packet)
        flags, format, width, height, rtp, dropped = fields[2:8]
        bases = self._bases(fields)
        references = sys.getrefcount(bases[0])
        is_writable = bool(flags & WRITABLE)
        views = _views(bases, is_writable)
        frame = Frame(views[0], views, FORMAT_NAMES[format], fields[12])
        frame.rtp, frame.dropped_before = rtp, dropped
        frame.capture_us = None if fields[13] == CAPTURE_UNKNOWN else fields[13]
        frame.deadline, frame.clock = fields[15] / 1e9, fields[16] / 1e9
        frame.writable, frame.resumed = is_writable, bool(flags & RESUMED)
        frame.size_changed, frame.image_wanted = bool(flags & SIZE_CHANGED), bool(flags & IMAGE_WANTED)
        del views
        answer = self._run(processor, frame, (width, height))
        del frame
        # Before the answer, so that the engine reads the warning with it.
        if sys.getrefcount(bases[0]) > references:
            self._warn_of_kept(processor)
        self._transmit(answer)

    def _run(self, processor: int, frame: Frame, size: tuple[int, int]) -> bytes:
        """Runs the processor; the packet of what came of it."""
        try:
            said = encode(self._instances[processor].process(frame), size)
            image = self._image(said, frame)
        except Refusal as refusal:
            return self._refusal(processor, refusal.code, refusal.text)
        except Exception as error:
            self._tracebacks.write(error, self._folder)
            return self._refusal(processor, "exception", _output.describe(error, self._folder))
        return self._packet_of(RESULT, processor, said.detections, said.data, image, int(said.is_nothing))

    def _bases(self, fields: tuple[int, ...]) -> tuple[Array, ...]:
        """Arrays over the planes of a request; remembered, because most frames look like the one before."""
        key = (fields[3], fields[4], fields[5], *fields[17:])
        if key not in self._views:
            if len(self._views) >= VIEWS_MAX:
                self._views.clear()
            name, count = FORMAT_NAMES[fields[3]], fields[11]
            planes = [fields[17 + 5 * index : 22 + 5 * index] for index in range(count)]
            self._views[key] = tuple(self._array(name, index, *plane) for index, plane in enumerate(planes))
        return self._views[key]

    def _array(self, format: str, index: int, offset: int, stride: int, width: int, height: int, _: int) -> Array:
        channels = CHANNELS.get(format) or (2 if format == "nv12" and index == 1 else None)
        shape: tuple[int, ...] = (height, width, channels) if channels else (height, width)
        strides: tuple[int, ...] = (stride, channels, 1) if channels else (stride, 1)
        return np.ndarray(shape, np.uint8, self._frames, offset, strides)

    def _warn_of_kept(self, processor: int) -> None:
        """Says once that a processor keeps a view: it will show later frames."""
        if processor not in self._warned:
            self._warned.add(processor)
            name = self._definitions[processor].name
            self._log("warn", f"{name} keeps a view of a frame after it returned; the view shows later frames: use .copy()")

    def _image(self, said: Said, frame: Frame) -> tuple[int, ...]:
        """Puts a returned picture where the engine reads it; says its kind, format, width, height and stride."""
        image = said.image
        if image is None:
            return (IMAGE_NONE, 0, 0, 0, 0)
        if frame.writable and _is_same(image, frame.image):
            return (IMAGE_FRAME, 0, 0, 0, 0)
        # That it gives pictures is said in any case.
        if not frame.image_wanted:
            return (IMAGE_AREA, 0, 0, 0, 0)
        height, width = image.shape[:2]
        channels = 1 if image.ndim == 2 else image.shape[2]
        if not (0 < width <= 8192 and 0 < height <= 8192):
            raise Refusal("bad_image", f"image is {width}x{height}; a side is 1 to 8192")
        stride = width * channels
        np.ndarray(image.shape, np.uint8, self._area, PICTURE_OFFSET)[:] = image
        format = FORMATS[{1: "gray", 3: frame.format if frame.format in ("rgb", "bgr") else "bgr", 4: "bgra"}[channels]]
        return (IMAGE_AREA, format, width, height, stride)

    def _refusal(self, processor: int, code: str, text: str) -> bytes:
        body = json.dumps({"code": code, "text": text[:1000]}, ensure_ascii=True).encode()
        return self._packet_of(REFUSED, processor, body)

    def _answer(self, kind: int, processor: int, body: bytes = b"", extra: int = 0) -> None:
        self._transmit(self._packet_of(kind, processor, body, extra=extra))

    def _packet_of(
        self,
        kind: int,
        processor: int,
        first: bytes = b"",
        second: bytes = b"",
        image: tuple[int, ...] = (0, 0, 0, 0, 0),
        extra: int = 0,
    ) -> bytes:
        """A reply, whose bodies go into the area when they are too long for a packet."""
        length = len(first) + len(second)
        is_inline = length <= INLINE_BYTES_MAX
        if length > PICTURE_OFFSET:
            return self._refusal(processor, "too_large", f"a result of {length} bytes, at most {PICTURE_OFFSET}")
        head = REPLY.pack(kind, processor, extra, is_inline, len(first), len(second), *image, 0)
        if is_inline:
            return head + first + second
        self._area[:length] = first + second
        return head

    def _transmit(self, packet: bytes) -> None:
        try:
            self.socket.send(packet)
        except ConnectionError:
            raise Gone from None

    def _log(self, level: str, text: str) -> None:
        """From any thread; a line that finds the socket full is left out."""
        for line in text.splitlines() or [""]:
            body = line.encode("utf-8", "replace")[:1024]
            head = REPLY.pack(LOG, 0, _context.LEVELS[level], 1, len(body), 0, 0, 0, 0, 0, 0, 0)
            self._transmit_soon(head + body)

    def _send(self, processor: int, body: bytes) -> None:
        self._transmit_soon(REPLY.pack(SEND, processor, 0, 1, len(body), 0, 0, 0, 0, 0, 0, 0) + body)

    def _transmit_soon(self, packet: bytes) -> None:
        try:
            self.socket.send(packet, socket.MSG_DONTWAIT)
        except OSError:
            pass


def _views(bases: tuple[Array, ...], is_writable: bool) -> tuple[Array, ...]:
    views = tuple([base[:] for base in bases])
    if not is_writable:
        for view in views:
            view.flags.writeable = False
    return views


def _is_same(image: Array, frame: Array) -> bool:
    """Whether an array is the frame's own memory, whole."""
    if image.shape != frame.shape or image.strides != frame.strides:
        return False
    return bool(image.ctypes.data == frame.ctypes.data)


def _seed(seed: int) -> None:
    """Seeds the generators that people use without asking."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
