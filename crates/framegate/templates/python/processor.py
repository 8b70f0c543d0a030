"""@NAME@: a box around what moves."""

import framegate
import numpy as np

CELL = 8  # side of the squares that move or do not, in pixels


@framegate.processor(name="@NAME@", version="0.1.0", format="gray", width=160, height=120)
class Motion:
    """Draws a box around what moves."""

    threshold: int = framegate.Param(
        15, ge=1, le=255, label="Threshold", unit="levels", description="Least change of a pixel that counts."
    )

    def __init__(self, stream: framegate.Stream) -> None:
        self.before: np.ndarray | None = None  # the picture before

    def process(self, frame: framegate.Frame) -> framegate.Result:
        now = frame.image.astype(np.int16)  # a copy: frame.image is valid only until this returns
        before, self.before = self.before, now
        if before is None:
            return framegate.Result(data={"moving": 0})
        height, width = now.shape
        changed = (np.abs(now - before) >= self.threshold).reshape(height // CELL, CELL, width // CELL, CELL)
        rows, columns = np.nonzero(changed.sum(axis=(1, 3)) >= CELL * CELL // 4)
        if not len(rows):
            return framegate.Result(data={"moving": 0})
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        box = framegate.Box(
            "motion", 1.0, left * CELL, top * CELL, (right - left) * CELL, (bottom - top) * CELL, unit="px"
        )
        return framegate.Result(detections=[box], data={"moving": len(rows)})
