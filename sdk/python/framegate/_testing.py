"""Runs processors in plain Python: no engine, no sandbox, exceptions pass through."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, Callable, Iterable

import numpy as np

from framegate import _context
from framegate._frame import CHANNELS, Array, Frame
from framegate._processor import MARK, Definition, FunctionInstance, ClassInstance, instantiate, start
from framegate._result import Box, Refusal, Result, encode

Picture = Array | str | Path


def test(processor: Callable[..., Any], image: Picture, *, stream: str = "test", seed: int = 1, **params: Any) -> Result:
    """Runs a processor on one picture and returns its result as framegate would deliver it.

    ``image`` is a uint8 array, ``(h, w, 3)`` in BGR order or ``(h, w)``, or a file that OpenCV or Pillow reads. It is
    scaled and converted to what the processor wants. Other keyword arguments are values of its parameters.

    Raises ``ValueError`` when the result could not be delivered (a NaN, say); the processor's own exceptions pass through.
    """
    return test_frames(processor, [image], stream=stream, seed=seed, **params)[0]


# Pytest collects what is called test_…; these are helpers.
test.__test__ = False  # type: ignore[attr-defined]


def test_frames(
    processor: Callable[..., Any],
    images: Iterable[Picture],
    *,
    stream: str = "test",
    seed: int = 1,
    **params: Any,
) -> list[Result]:
    """Runs one instance of a processor on several pictures, as consecutive frames: see :func:`test`."""
    definition = getattr(processor, MARK, None)
    if not isinstance(definition, Definition):
        raise TypeError(f"{processor!r} is no processor: decorate it with @framegate.processor")
    folder = Path(inspect.getfile(definition.target)).resolve().parent
    before = _context.current()
    _context.enter(_context.Stream(stream, folder, seed))
    try:
        instance = _instance(definition, params)
        results = [_run(definition, instance, image, number) for number, image in enumerate(images, 1)]
        instance.call("close")
        return results
    finally:
        _context.enter(before)


test_frames.__test__ = False  # type: ignore[attr-defined]


def _instance(definition: Definition, params: dict[str, Any]) -> FunctionInstance | ClassInstance:
    instance = instantiate(definition, _context.current())
    known = {param.id: index for index, param in enumerate(definition.params)}
    for identifier, value in params.items():
        if identifier not in known:
            raise ValueError(f"{definition.name} has no parameter `{identifier}`; it has {', '.join(known) or 'none'}")
        param = definition.params[known[identifier]]
        checked = param.check(value)
        instance.set(known[identifier], _as_json(checked))
    start(instance)
    return instance


def _as_json(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)) and not hasattr(value, "name"):
        return value
    # Colours say themselves as text; members of an Enum are chosen by theirs.
    choice = getattr(value, "value", None)
    return choice if isinstance(choice, str) else getattr(value, "name", str(value))


def _run(definition: Definition, instance: FunctionInstance | ClassInstance, image: Picture, number: int) -> Result:
    picture = _prepare(definition, _load(image))
    is_new = number == 1
    if is_new:
        instance.call("configure", int(picture.shape[1]), int(picture.shape[0]))
    picture.flags.writeable = definition.writable
    frame = Frame(picture, (picture,), definition.format, number)
    frame.rtp, frame.clock = number * 3000, number / 30
    frame.writable, frame.size_changed = definition.writable, is_new
    try:
        said = encode(instance.process(frame), frame.size)
    except Refusal as refusal:
        raise ValueError(f"{refusal.code}: {refusal.text}") from None
    rows = json.loads(said.detections or b"[]")
    boxes = [Box(*row) for row in rows]
    return Result(boxes, json.loads(said.data) if said.data else None, said.image)


def _load(image: Picture) -> Array:
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise ValueError(f"the picture is an array of {image.dtype} and shape {image.shape}; give uint8 of (h, w, 3)")
        return image
    path = Path(image)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        import cv2
    except ImportError:
        pass
    else:
        loaded = cv2.imread(str(path))
        if loaded is None:
            raise ValueError(f"{path} is no picture that OpenCV reads")
        return np.asarray(loaded, dtype=np.uint8)
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("reading a picture needs opencv-python-headless or pillow; or give an array") from None
    return np.asarray(Image.open(path).convert("RGB"), dtype=np.uint8)[:, :, ::-1]


def _prepare(definition: Definition, picture: Array) -> Array:
    """A copy of the picture in the size and format that the processor wants."""
    height, width = picture.shape[:2]
    wanted_width = definition.width or (round(width * definition.height / height) if definition.height else width)
    wanted_height = definition.height or round(height * wanted_width / width)
    rows = np.arange(wanted_height) * height // wanted_height
    columns = np.arange(wanted_width) * width // wanted_width
    scaled = picture[rows][:, columns]
    bgr = scaled if scaled.ndim == 3 else np.repeat(scaled[:, :, None], 3, axis=2)
    if definition.format == "gray":
        if scaled.ndim == 2:
            return np.array(scaled)
        luma = bgr[:, :, 2] * 0.299 + bgr[:, :, 1] * 0.587 + bgr[:, :, 0] * 0.114
        return np.asarray(luma.round(), dtype=np.uint8)
    if definition.format not in CHANNELS:
        raise ValueError(f"framegate.test makes no {definition.format} of a picture; use `framegate run` for it")
    if definition.format == "rgb":
        return np.ascontiguousarray(bgr[:, :, 2::-1])
    if definition.format == "bgra":
        alpha = np.full((*bgr.shape[:2], 1), 255, dtype=np.uint8)
        return np.concatenate([bgr[:, :, :3], alpha], axis=2)
    return np.ascontiguousarray(bgr[:, :, :3]).copy()
