"""Write framegate processors in Python.

Decorate a function or a class with :func:`processor`; it is called with a :class:`Frame` whose ``image`` is a numpy view
of the picture, and returns what it found: ``None``, a ``dict``, a number, :class:`Box` objects or a :class:`Result`.

Parameters are keyword arguments with a :class:`Param`, a plain default value, an ``Enum``, a ``Literal`` or a
:class:`Color`. :func:`test` runs a processor on a picture without framegate.
"""

from framegate._context import Stream, log, random, send
from framegate._frame import Frame
from framegate._params import Color, Param
from framegate._processor import processor
from framegate._result import Box, Result
from framegate._testing import test, test_frames

__version__ = "0.1.0"

__all__ = [
    "Box",
    "Color",
    "Frame",
    "Param",
    "Result",
    "Stream",
    "log",
    "processor",
    "random",
    "send",
    "test",
    "test_frames",
]
