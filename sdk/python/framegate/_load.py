"""Loads the author's file, and says what is wrong with it in words that name the remedy."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
import types
from pathlib import Path

from framegate._processor import Definition, definitions

#: Longest error text, in characters: the engine's limit is 1 KiB.
TEXT_MAX = 900

#: What to install for modules whose package has another name.
PACKAGES = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "zbar": "pyzbar",
}


class LoadError(Exception):
    """The processor cannot be had; the text is for people."""


def load(wanted: list[tuple[Path, str | None]]) -> list[Definition]:
    """Imports each file once and finds the processors named. Raises `LoadError`."""
    modules: dict[Path, types.ModuleType] = {}
    for file, _ in wanted:
        if file not in modules:
            modules[file] = _import(file)
    return [_pick(modules[file], file, name) for file, name in wanted]


def _import(file: Path) -> types.ModuleType:
    folder = str(file.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # A file may be called as a module that is loaded already.
    name = file.stem if file.stem not in sys.modules else f"framegate_processor_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise LoadError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise LoadError(_missing(file, error)) from None
    except SyntaxError as error:
        raise LoadError(f"{file.name}:{error.lineno}: {error.msg}: {(error.text or '').strip()[:200]}") from None
    except SystemExit as error:
        raise LoadError(f"{file.name} calls sys.exit({error.code!r}) when it is imported") from None
    except BaseException as error:
        raise LoadError(_last_lines(file, error)) from None
    return module


def _missing(file: Path, error: ModuleNotFoundError) -> str:
    name = (error.name or "").partition(".")[0]
    package = PACKAGES.get(name, name)
    python = os.path.join(sys.prefix, "bin", "python") if sys.prefix != sys.base_prefix else sys.executable
    where = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in where if frame.filename.startswith(f"{file.parent}/")]
    line = f":{own[-1].lineno}" if own else ""
    return (
        f"{file.name}{line} needs the module `{name}`, which {python} does not have; "
        f"install it: {python} -m pip install {package}"
    )


def _last_lines(file: Path, error: BaseException) -> str:
    ours = os.path.dirname(__file__)
    frames = traceback.extract_tb(error.__traceback__)
    shown = [frame for frame in frames if not frame.filename.startswith((ours, "<frozen importlib"))]
    lines = [f"{os.path.basename(frame.filename)}:{frame.lineno}: {frame.line}" for frame in shown[-3:]]
    said = "".join(traceback.format_exception_only(type(error), error)).strip()
    return f"importing {file.name} failed: {said[-600:]} (" + " < ".join(reversed(lines)) + ")"


def _pick(module: types.ModuleType, file: Path, name: str | None) -> Definition:
    found = definitions(module)
    names = ", ".join(definition.name for definition in found)
    if not found:
        raise LoadError(f"{file.name} has no processor: put @framegate.processor before a function or class of it")
    if name is None:
        if len(found) > 1:
            raise LoadError(f"{file.name} has several processors: {names}; name one as {file.name}:{found[0].name}")
        return found[0]
    for definition in found:
        if definition.name == name:
            return definition
    raise LoadError(f"{file.name} has no processor `{name}`; it has {names}")
