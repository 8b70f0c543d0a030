"""The decorator, and what it learns of a function or class."""

from __future__ import annotations

import inspect
import re
import typing
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol, TypeVar, overload

from framegate import _context
from framegate._frame import FORMATS, Frame
from framegate._params import ParamInfo, ParamSpec, make

_NAME = re.compile(r"[a-z0-9_-]{1,64}\Z")
#: Largest side a processor may want, in pixels: the interface's limit.
SIDE_MAX = 8192
#: Most parameters of a processor: the interface's limit.
PARAMS_MAX = 64
#: Name of the attribute that a decorated function or class carries.
MARK = "__framegate__"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True)
class Definition:
    """One processor as its author declared it."""

    target: Callable[..., Any]
    name: str
    version: str
    description: str
    format: str
    width: int
    height: int
    rate: float
    writable: bool
    state_version: int
    params: tuple[ParamSpec, ...] = field(default=())

    @property
    def is_class(self) -> bool:
        """Whether it is a class, with an instance for each stream."""
        return isinstance(self.target, type)

    @property
    def has_state(self) -> bool:
        """Whether its state can outlive an engine."""
        return self.is_class and hasattr(self.target, "save") and hasattr(self.target, "load")

    @property
    def takes_messages(self) -> bool:
        """Whether it takes messages of the page."""
        return self.is_class and hasattr(self.target, "receive")

    def describe(self) -> dict[str, Any]:
        """What the engine is told."""
        return {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "params": [param.describe() for param in self.params],
            "format": FORMATS[self.format],
            "width": self.width,
            "height": self.height,
            "rate_millihertz": round(self.rate * 1000),
            "writable": self.writable,
            "has_state": self.has_state,
            "takes_messages": self.takes_messages,
        }


class Instance(Protocol):
    """One processor serving one stream."""

    def set(self, index: int, value: Any) -> None:
        """Takes a new value of a parameter, as JSON has it."""

    def process(self, frame: Frame) -> Any:
        """Processes one frame."""

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls one of the optional methods; ``None`` when there is none."""


class FunctionInstance:
    """A function with the present values of its parameters."""

    def __init__(self, definition: Definition, stream: _context.Stream) -> None:
        self._function = definition.target
        self._params = definition.params
        self._values = {param.id: param.convert(param.default) for param in definition.params}

    def set(self, index: int, value: Any) -> None:
        param = self._params[index]
        self._values[param.id] = param.convert(value)

    def process(self, frame: Frame) -> Any:
        return self._function(frame, **self._values)

    def call(self, name: str, *arguments: Any) -> Any:
        return None


class ClassInstance:
    """An instance of the author's class; parameters are its attributes, set before ``__init__``."""

    def __init__(self, definition: Definition, stream: _context.Stream) -> None:
        assert isinstance(definition.target, type)
        self._params = definition.params
        self._object: Any = object.__new__(definition.target)
        for param in definition.params:
            setattr(self._object, param.id, param.convert(param.default))
        self._stream = stream
        self._is_initialised = False

    def start(self) -> None:
        """Runs the author's ``__init__``, with the stream if it takes one."""
        if self._is_initialised:
            return
        self._is_initialised = True
        init = type(self._object).__init__
        if init is object.__init__:
            return
        arguments = (self._stream,) if _takes_argument(init) else ()
        init(self._object, *arguments)

    def set(self, index: int, value: Any) -> None:
        param = self._params[index]
        setattr(self._object, param.id, param.convert(value))

    def process(self, frame: Frame) -> Any:
        return self._object.process(frame)

    def call(self, name: str, *arguments: Any) -> Any:
        function = getattr(self._object, name, None)
        return None if function is None else function(*arguments)


def _takes_argument(init: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(init).parameters.values())[1:]
    return any(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters)


def instantiate(definition: Definition, stream: _context.Stream) -> FunctionInstance | ClassInstance:
    """Makes an instance; ``start`` of a class instance is still to be called."""
    return ClassInstance(definition, stream) if definition.is_class else FunctionInstance(definition, stream)


def start(instance: FunctionInstance | ClassInstance) -> None:
    """Runs the author's ``__init__``, if there is one and it has not run."""
    if isinstance(instance, ClassInstance):
        instance.start()


@overload
def processor(target: Decorated) -> Decorated: ...


@overload
def processor(
    *,
    name: str = "",
    version: str = "",
    description: str = "",
    format: str = "bgr",
    width: int = 0,
    height: int = 0,
    rate: float = 0,
    writable: bool = False,
    state_version: int = 1,
) -> Callable[[Decorated], Decorated]: ...


def processor(
    target: Any = None,
    *,
    name: str = "",
    version: str = "",
    description: str = "",
    format: str = "bgr",
    width: int = 0,
    height: int = 0,
    rate: float = 0,
    writable: bool = False,
    state_version: int = 1,
) -> Any:
    """Makes a processor of a function ``(frame, **parameters)`` or of a class with ``process(self, frame)``.

    A class may also have ``__init__(self, stream)``, ``configure(self, width, height)``, ``save(self) -> bytes``,
    ``load(self, state)``, ``receive(self, message)`` and ``close(self)``. Its parameters are annotated attributes.

    ``format`` is bgr, rgb, bgra, gray, i420 or nv12. ``width`` and ``height`` of 0 mean as the camera sends, one of them
    0 keeps the aspect. ``rate`` is the most frames a second, 0 for all. ``writable`` lets it write into its frames.
    ``state_version`` names the format that ``save`` writes: a state of another version is not loaded.
    """

    def decorate(target: Decorated) -> Decorated:
        definition = define(
            target, name, version, description, format, width, height, float(rate), writable, state_version
        )
        setattr(target, MARK, definition)
        return target

    return decorate if target is None else decorate(target)


def define(
    target: Callable[..., Any],
    name: str,
    version: str,
    description: str,
    format: str,
    width: int,
    height: int,
    rate: float,
    writable: bool,
    state_version: int,
) -> Definition:
    """Checks what the author declared. Raises ``TypeError`` or ``ValueError``."""
    is_class = isinstance(target, type)
    name = name or target.__name__.lower()
    if not _NAME.match(name):
        raise ValueError(f"{name!r} is no name for a processor: use at most 64 of a-z, 0-9, _ and -")
    if format not in FORMATS:
        raise ValueError(f"{name}: the format {format!r} is none of {', '.join(FORMATS)}")
    if not (0 <= width <= SIDE_MAX and 0 <= height <= SIDE_MAX):
        raise ValueError(f"{name}: {width}x{height} is outside 0 to {SIDE_MAX} a side")
    if not 0 <= rate <= 1000:
        raise ValueError(f"{name}: a rate of {rate} a second is outside 0 to 1000")
    if not 0 <= state_version < 1 << 32:
        raise ValueError(f"{name}: state_version is outside 0 to 4294967295")
    if is_class and not callable(getattr(target, "process", None)):
        raise TypeError(f"{name}: the class {target.__name__} has no process(self, frame)")
    params = tuple(_of_class(target) if isinstance(target, type) else _of_function(target))
    if len(params) > PARAMS_MAX:
        raise ValueError(f"{name} has {len(params)} parameters, at most {PARAMS_MAX}")
    about = description or next(iter((target.__doc__ or "").strip().splitlines()), "")
    return Definition(
        target, name, version, about, format, width, height, rate, writable, state_version, params
    )


def _hints(target: Any, name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target)
    except NameError as error:
        raise TypeError(f"{name}: an annotation cannot be read: {error}") from None


def _of_function(function: Callable[..., Any]) -> list[ParamSpec]:
    arguments = list(inspect.signature(function).parameters.values())
    if not arguments or arguments[0].kind not in (arguments[0].POSITIONAL_ONLY, arguments[0].POSITIONAL_OR_KEYWORD):
        raise TypeError(f"{function.__name__} takes no frame: declare it as def {function.__name__}(frame)")
    hints = _hints(function, function.__name__)
    params = []
    for argument in arguments[1:]:
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD, argument.POSITIONAL_ONLY):
            raise TypeError(f"{function.__name__}: `{argument.name}` cannot be a parameter: give it a name and a default")
        if argument.default is argument.empty:
            raise TypeError(f"{function.__name__}: `{argument.name}` has no default: write {argument.name}: float = 0.5")
        params.append(make(argument.name, hints.get(argument.name), argument.default))
    return params


def _of_class(target: type) -> list[ParamSpec]:
    hints = _hints(target, target.__name__)
    params = []
    for identifier, annotation in hints.items():
        default = getattr(target, identifier, None)
        # A plain annotated attribute is the author's own; only `Param` makes a parameter of it.
        if isinstance(default, ParamInfo):
            params.append(make(identifier, annotation, default))
    return params


def definitions(module: Any) -> list[Definition]:
    """The processors of a module, in their order, each once."""
    found: list[Definition] = []
    for value in vars(module).values():
        definition = getattr(value, MARK, None)
        if isinstance(definition, Definition) and definition.target is value and definition not in found:
            found.append(definition)
    return found
