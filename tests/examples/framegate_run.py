"""`framegate run` for tests, and how near two places are."""

import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAMS = pathlib.Path(os.environ.get("FRAMEGATE_BIN", TARGET / "debug"))
PICTURES = TARGET / "pictures"
# Compiling dlib takes half a minute where it is not yet in the cache.
RUN_S_MAX = 300


class RunFailed(Exception):
    """`framegate run` ended with another exit code than 0; the text is what it said."""


def framegate(*arguments, folder=ROOT):
    """Runs the program and returns what it printed on both outputs."""
    done = subprocess.run([PROGRAMS / "framegate", *map(str, arguments)], cwd=folder, capture_output=True, text=True,
                          timeout=RUN_S_MAX, check=False)
    if done.returncode != 0:
        raise RunFailed(f"exit code {done.returncode}: {done.stderr}")
    return done.stdout, done.stderr


def run(clip, *processors, settings=(), options=()):
    """The results of a clip, in order; of several processors as one pipeline."""
    words = [word for setting in settings for word in ("--set", setting)]
    text, _ = framegate("run", clip, "-p", " | ".join(map(str, processors)), *words, *options)
    return [json.loads(line) for line in text.splitlines()]


def overlap(one, other):
    """Common area of two boxes [x, y, w, h] as part of what they cover together."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (one[2] * one[3] + other[2] * other[3] - width * height)


def box_around(points):
    """The box around points (x, y, ...)."""
    left, right = min(point[0] for point in points), max(point[0] for point in points)
    top, bottom = min(point[1] for point in points), max(point[1] for point in points)
    return [left, top, right - left, bottom - top]
