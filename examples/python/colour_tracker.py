"""Follows the largest patch of a colour: a box, a track number and the way it has gone.

    framegate serve -p examples/python/colour_tracker.py

Needs numpy only. Pick the colour on the page; a small picture is enough for it, so it asks for one.
"""

from collections import deque

import numpy as np

import framegate


@framegate.processor(name="colour-tracker", version="1.0.0", width=160, rate=30)
class ColourTracker:
    """Follows the largest patch of a colour."""

    colour: framegate.Color = framegate.Param(framegate.Color("#d02020"), label="Colour")
    tolerance: float = framegate.Param(0.15, ge=0.01, le=0.5, step=0.01, label="Tolerance")
    least: float = framegate.Param(0.5, ge=0.05, le=50, step=0.05, label="Least area", unit="%")
    trail: int = framegate.Param(30, ge=0, le=60, label="Trail", unit="frames")

    def __init__(self):
        self.track, self.path, self.missed = 0, deque(maxlen=64), 0

    def process(self, frame):
        mask = self.matches(frame.image)
        box = largest_patch(mask)
        if box is None or box[4] < self.least / 100 * mask.size:
            self.missed += 1
            return {"found": False}
        left, top, right, bottom, area = box
        # After half a second without it, what comes is taken for another one.
        if self.track == 0 or self.missed > 15:
            self.track += 1
            self.path.clear()
        self.missed = 0
        width, height = frame.size
        self.path.append(((left + right) / 2 / width, (top + bottom) / 2 / height))
        score = area / ((right - left) * (bottom - top))
        patch = framegate.Box(
            str(self.colour), score, left, top, right - left, bottom - top, track=self.track, unit="px"
        )
        trail = [[round(x, 4), round(y, 4)] for x, y in list(self.path)[-self.trail :]] if self.trail else []
        return framegate.Result([patch], {"found": True, "trail": trail})

    def matches(self, image):
        """Where the picture has the colour: its share of red, green and blue, whatever the brightness."""
        wanted = np.array(self.colour.bgr, np.float32) + 1
        wanted /= wanted.sum()
        pixels = image.astype(np.float32) + 1
        sums = pixels.sum(axis=2, keepdims=True)
        distance = np.abs(pixels / sums - wanted).sum(axis=2)
        # What is nearly black has no colour that could be trusted.
        return (distance < self.tolerance) & (sums[:, :, 0] > 60)

    def save(self):
        return np.array([self.track], np.int64).tobytes()

    def load(self, state):
        self.track = int(np.frombuffer(state, np.int64)[0])


def largest_patch(mask):
    """Left, top, right, bottom and area of the largest connected patch of a mask, or None."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    # Each pixel takes the largest number around it, along whole rows and columns at once, until nothing changes.
    for _ in range(64):
        before = labels
        for axis in (0, 1):
            for step in (1, -1):
                labels = np.maximum(labels, spread(labels, mask, axis, step))
        if np.array_equal(before, labels):
            break
    numbers, counts = np.unique(labels[mask], return_counts=True)
    if not numbers.size:
        return None
    rows, columns = np.nonzero(labels == numbers[counts.argmax()])
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1, int(counts.max())


def spread(labels, mask, axis, step):
    """The labels, each carried along `axis` as far as the mask goes on."""
    lines = (labels if axis else labels.T)[:, ::step]
    open_ = (mask if axis else mask.T)[:, ::step]
    # Where the mask is interrupted a new run begins: within a run the running maximum is what reaches a pixel.
    runs = np.cumsum(~open_, axis=1) * (np.int64(mask.size) + 1)
    carried = np.where(open_, np.maximum.accumulate(np.where(open_, lines + runs, runs), axis=1) - runs, 0)
    carried = carried[:, ::step]
    return carried if axis else carried.T
