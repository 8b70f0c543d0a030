"""Parameters: values that people change while a processor runs, declared in its signature."""

from __future__ import annotations

import enum
import math
import re
import types
import typing
from dataclasses import dataclass
from typing import Any, Callable, Literal

import numpy as np

_ID = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}\Z")

#: Longest text of a parameter if it does not say, in bytes.
TEXT_BYTES = 256


class Color:
    """A colour: ``Color("#ff8000")`` or ``Color(255, 128, 0)``, red first."""

    __slots__ = ("_value",)

    def __init__(self, red: str | int, green: int = 0, blue: int = 0) -> None:
        if isinstance(red, str):
            if not _COLOR.match(red):
                raise ValueError(f"{red!r} is no colour: write it as #rrggbb")
            self._value = int(red[1:], 16)
            return
        for part in (red, green, blue):
            if not 0 <= part <= 255:
                raise ValueError(f"a part of a colour is {part}; it takes 0 to 255")
        self._value = red << 16 | green << 8 | blue

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        return self._value >> 16, self._value >> 8 & 255, self._value & 255

    @property
    def bgr(self) -> tuple[int, int, int]:
        """Blue, green and red, 0 to 255: what OpenCV's drawing functions take."""
        red, green, blue = self.rgb
        return blue, green, red

    def __str__(self) -> str:
        return f"#{self._value:06x}"

    def __repr__(self) -> str:
        return f"Color({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Color) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True)
class ParamInfo:
    """What :func:`Param` says of a parameter."""

    default: Any
    ge: float | None = None
    le: float | None = None
    step: float | None = None
    label: str = ""
    group: str = ""
    description: str = ""
    unit: str = ""
    bytes_max: int = TEXT_BYTES


def Param(  # noqa: N802: it stands where a value of any type may stand, and reads as a declaration
    default: Any,
    *,
    ge: float | None = None,
    le: float | None = None,
    step: float | None = None,
    label: str = "",
    group: str = "",
    description: str = "",
    unit: str = "",
    bytes_max: int = TEXT_BYTES,
) -> Any:
    """Declares a parameter as the default of an argument or of a class attribute.

    ``ge`` and ``le`` are the least and largest value and come together; values are ``ge`` plus multiples of ``step``.
    """
    return ParamInfo(default, ge, le, step, label, group, description, unit, bytes_max)


@dataclass(frozen=True)
class ParamSpec:
    """One parameter of a processor, ready to be told to the engine."""

    id: str
    kind: str
    info: ParamInfo
    #: The default as JSON has it.
    default: bool | int | float | str
    choices: tuple[str, ...]
    #: From the engine's checked JSON value to what the processor gets.
    convert: Callable[[Any], Any]

    def describe(self) -> dict[str, Any]:
        """What the engine is told."""
        info = self.info
        return {
            "id": self.id,
            "label": info.label,
            "group": info.group,
            "description": info.description,
            "unit": info.unit,
            "kind": self.kind,
            "min": info.ge,
            "max": info.le,
            "step": info.step,
            "choices": list(self.choices),
            "bytes_max": info.bytes_max,
            "default": self.default,
        }

    def check(self, value: Any) -> Any:
        """Checks a value given in plain Python and makes of it what the processor gets. Raises ``ValueError``.

        In an engine the engine has checked it before.
        """
        what = f"`{self.id}` is {value!r}; it takes "
        if self.kind == "color":
            return value if isinstance(value, Color) else Color(value)
        if self.kind == "choice":
            text = _choice_text(value)
            if text not in self.choices:
                raise ValueError(what + "one of " + ", ".join(self.choices))
            return self.convert(text)
        if self.kind == "text":
            if not isinstance(value, str) or len(value.encode()) > self.info.bytes_max:
                raise ValueError(what + f"a text of at most {self.info.bytes_max} bytes")
            return value
        if self.kind == "bool":
            if not isinstance(value, bool):
                raise ValueError(what + "True or False")
            return value
        return self.convert(self._check_number(value, what))

    def _check_number(self, value: Any, what: str) -> int | float:
        low, high = self.info.ge, self.info.le
        is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if self.kind == "int" and not is_whole:
            raise ValueError(what + "a whole number")
        if not is_whole and not isinstance(value, (float, np.floating)) or not math.isfinite(value):
            raise ValueError(what + "a finite number")
        if low is not None and high is not None and not low <= value <= high:
            raise ValueError(what + f"{low:g} to {high:g}")
        return typing.cast("int | float", value)


def _choice_text(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else value.name
    return str(value)


def make(identifier: str, annotation: Any, default: Any) -> ParamSpec:
    """Makes a parameter of an argument or attribute. Raises ``TypeError`` or ``ValueError`` with the remedy."""
    if not _ID.match(identifier):
        raise ValueError(f"the parameter `{identifier}` needs a name of lower-case letters, digits and _ (at most 64)")
    info = default if isinstance(default, ParamInfo) else ParamInfo(default)
    annotation = type(info.default) if annotation is None else annotation
    spec = _of_type(identifier, annotation, info)
    if (info.ge is None) != (info.le is None):
        raise ValueError(f"the parameter `{identifier}` has only one of ge and le; give both")
    if info.ge is not None and spec.kind not in ("int", "float"):
        raise ValueError(f"the parameter `{identifier}` is a {spec.kind}, which has no ge and le")
    for number in (info.ge, info.le, info.step):
        if number is not None and not math.isfinite(number):
            raise ValueError(f"the parameter `{identifier}` has a bound that is not finite")
    spec.check(info.default)
    return spec


def _of_type(identifier: str, annotation: Any, info: ParamInfo) -> ParamSpec:
    default = info.default

    def spec(kind: str, json_default: Any, convert: Callable[[Any], Any], choices: tuple[str, ...] = ()) -> ParamSpec:
        return ParamSpec(identifier, kind, info, json_default, choices, convert)

    if typing.get_origin(annotation) is Literal:
        choices = typing.get_args(annotation)
        if not all(isinstance(choice, str) for choice in choices):
            raise TypeError(f"the parameter `{identifier}` is a Literal of other things than texts")
        return spec("choice", default, str, choices)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        members = {_choice_text(member): member for member in annotation}
        if not isinstance(default, annotation):
            raise TypeError(f"the default of the parameter `{identifier}` must be one of {annotation.__name__}")
        return spec("choice", _choice_text(default), members.__getitem__, tuple(members))
    if annotation is Color:
        color = default if isinstance(default, Color) else Color(default)
        return spec("color", str(color), Color)
    if annotation is bool:
        return spec("bool", default, bool)
    if annotation is int:
        return spec("int", default, int)
    if annotation is float:
        number = float(default) if isinstance(default, (int, float)) else default
        return spec("float", number, float)
    if annotation is str:
        return spec("text", default, str)
    name = getattr(annotation, "__name__", str(annotation))
    hint = " (Optional types have no form)" if isinstance(annotation, types.UnionType) else ""
    raise TypeError(
        f"the parameter `{identifier}` has the type {name}{hint}; use bool, int, float, str, an Enum, a Literal of texts "
        "or framegate.Color"
    )
