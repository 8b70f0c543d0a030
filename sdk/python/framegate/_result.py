"""Results: what a processor found, and how it becomes JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Iterable, Sequence

import numpy as np
import numpy.typing as npt

#: Largest `data` of one result, in bytes of JSON: the interface's limit.
DATA_BYTES_MAX = 48 << 10
#: Most detections of one result: the interface's limit.
DETECTIONS_MAX = 256
#: Most points of one detection: the interface's limit.
KEYPOINTS_MAX = 64
#: Beyond this a coordinate is surely in pixels and not a fraction of the picture.
FRACTION_MAX = 4.0
#: Depth at which a value is taken to contain itself.
DEPTH_MAX = 64


class Refusal(Exception):
    """A result that cannot be delivered: a word for programs and a text for the author."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass
class Box:
    """Something found at a place: origin top-left, as fractions of the picture, or in its pixels with ``unit="px"``."""

    #: What it is, at most 64 bytes.
    label: str
    #: Confidence, 0 to 1.
    score: float
    x: float
    y: float
    w: float
    h: float
    #: Identity over time; 0 for none.
    track: int = 0
    #: Points as ``(x, y)`` or ``(x, y, score)``, in the box's unit; at most 64.
    keypoints: Sequence[Sequence[float]] = ()
    #: Whether the keypoints, at least three, are the corners of its outline, in their order.
    outline: bool = False
    #: ``"fraction"`` or ``"px"``.
    unit: str = "fraction"


@dataclass
class Result:
    """All that can be said about one frame."""

    detections: Iterable[Box] = ()
    #: Any JSON value, at most 48 KiB; numpy numbers and arrays are allowed in it.
    data: Any = None
    #: A picture to show instead of the camera's: uint8, ``(h, w, 3)`` BGR, ``(h, w, 4)`` BGRA or ``(h, w)`` grey.
    image: npt.NDArray[np.uint8] | None = None
    #: Unit of the detections' coordinates: ``"px"`` makes all of them pixels.
    unit: str = "fraction"


def _plain(value: Any) -> Any:
    """Makes a plain value of what JSON does not know."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError


_encoder = json.JSONEncoder(allow_nan=False, default=_plain, ensure_ascii=False, separators=(",", ":"))


def encode_json(value: Any, name: str) -> bytes:
    """JSON of ``value``. Raises :class:`Refusal`, naming the place below ``name`` that is no JSON."""
    try:
        return _encoder.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        # The encoder says what is wrong but not where.
        raise _why_not(value, name, 0) or Refusal("bad_json", f"{name} is no JSON: {error}") from None


def _why_not(value: Any, path: str, depth: int) -> Refusal | None:
    """The first place below ``path`` that JSON cannot hold."""
    if depth > DEPTH_MAX:
        return Refusal("bad_json", f"{path[:80]}… is nested too deep, or contains itself")
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int)):
        return None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return Refusal("bad_json", f"{path} is a text that is no UTF-8")
        return None
    if isinstance(value, float):
        if math.isfinite(value):
            return None
        return Refusal("not_finite", f"{path} is {value}; JSON has no NaN and no infinity: give None")
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, (str, int, float)) and key is not None:
                return Refusal("bad_json", f"{path} has a key of the type {type(key).__name__}; keys are texts")
            if found := _why_not(part, f"{path}[{str(key)[:40]!r}]", depth + 1):
                return found
        return None
    if isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            if found := _why_not(part, f"{path}[{index}]", depth + 1):
                return found
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _why_not(dataclasses.asdict(value), path, depth + 1)
    return Refusal("bad_json", f"{path} is of the type {type(value).__name__}, which JSON has no form for")


@dataclass
class Said:
    """A result in the form that crosses to the engine."""

    #: JSON list of ``[label, score, x, y, w, h, track, [[x, y, score], …], is_outline]``, in fractions; empty: none.
    detections: bytes = b""
    #: JSON text; empty: none.
    data: bytes = b""
    image: npt.NDArray[np.uint8] | None = None
    #: Whether the processor said anything at all.
    is_nothing: bool = field(default=False)


def is_picture(value: Any) -> bool:
    """Whether a returned value is a picture."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        return False
    return value.ndim == 2 or value.ndim == 3 and value.shape[2] in (3, 4)


def encode(value: Any, size: tuple[int, int]) -> Said:
    """What a processor returned for a picture of ``size``, checked. Raises :class:`Refusal`."""
    if value is None:
        return Said(is_nothing=True)
    if isinstance(value, dict):
        return Said(data=_data(value))
    if isinstance(value, Result):
        said = Said(detections=_detections(value.detections, size, value.unit))
        if value.data is not None:
            said.data = _data(value.data)
        if value.image is not None:
            if not is_picture(value.image):
                raise Refusal("bad_image", f"image is {_about(value.image)}; give uint8 of (h, w), (h, w, 3) or (h, w, 4)")
            said.image = value.image
        return said
    if isinstance(value, Box):
        return Said(detections=_detections([value], size, "fraction"))
    if is_picture(value):
        return Said(image=value)
    if isinstance(value, (list, tuple, np.ndarray, set, frozenset)) or hasattr(value, "__next__"):
        items = list(value)
        if not items:
            return Said(detections=b"[]")
        if isinstance(items[0], Box):
            return Said(detections=_detections(items, size, "fraction"))
        return Said(data=_data(items))
    return Said(data=_data(value))


def _about(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    return f"of the type {type(value).__name__}"


def _data(value: Any) -> bytes:
    text = encode_json(value, "data")
    if len(text) > DATA_BYTES_MAX:
        raise Refusal("too_large", f"data of {len(text)} bytes, at most {DATA_BYTES_MAX}; send less, or a picture as image")
    return text


def _detections(boxes: Iterable[Box], size: tuple[int, int], unit: str) -> bytes:
    rows: list[Any] = []
    for box in boxes:
        if not isinstance(box, Box):
            raise Refusal("bad_box", f"a detection is {_about(box)}; give framegate.Box objects")
        if len(rows) >= DETECTIONS_MAX:
            raise Refusal("too_many", f"more than {DETECTIONS_MAX} detections in one frame")
        rows.append(_row(box, size, "px" if unit == "px" else box.unit))
    return encode_json(rows, "detections") if rows else b"[]"


def _row(box: Box, size: tuple[int, int], unit: str) -> list[Any]:
    if unit not in ("fraction", "px"):
        raise Refusal("bad_box", f"the unit of a box is {unit!r}; it is fraction or px")
    if not isinstance(box.label, str):
        raise Refusal("bad_text", f"the label of a box is {_about(box.label)}; it is a text")
    width, height = size if unit == "px" else (1, 1)
    try:
        numbers = [box.x / width, box.y / height, box.w / width, box.h / height]
        row: list[Any] = [box.label, float(box.score), *map(float, numbers), int(box.track), _points(box, width, height)]
        row.append(bool(box.outline))
    except (TypeError, ValueError, OverflowError) as error:
        raise Refusal("bad_box", f"a number of the box `{box.label}` is none: {error}") from None
    for name, number in zip(("score", "x", "y", "w", "h"), row[1:6]):
        if not math.isfinite(number):
            raise Refusal("not_finite", f"{name} of the box `{box.label}` is {number}; it must be finite")
    if max(map(abs, row[2:6])) > FRACTION_MAX:
        place = ", ".join(f"{number:g}" for number in row[2:6])
        raise Refusal("bad_box", f"the box `{box.label}` is at {place}, which is far outside the picture: say unit=\"px\"")
    if not 0 <= row[6] < 1 << 64:
        raise Refusal("bad_box", f"track of the box `{box.label}` is {row[6]}; it is 0 or positive")
    return row


def _points(box: Box, width: int, height: int) -> list[list[float]]:
    if len(box.keypoints) > KEYPOINTS_MAX:
        raise Refusal("too_many", f"the box `{box.label}` has {len(box.keypoints)} keypoints, at most {KEYPOINTS_MAX}")
    points = []
    for point in box.keypoints:
        x, y, *score = map(float, point)
        values = [x / width, y / height, score[0] if score else 1.0]
        if not all(map(math.isfinite, values)):
            raise Refusal("not_finite", f"a keypoint of the box `{box.label}` is {values}; it must be finite")
        points.append(values)
    return points
