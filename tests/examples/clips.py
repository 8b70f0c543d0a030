"""Writes pictures as clips: Y4M for `framegate run`, Motion JPEG for the camera that Chromium plays from a file."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

RATE_HZ = 30
BAR_CELLS = 36


def write_png(path, picture):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def write_y4m(path, pictures):
    """Uncompressed, BT.601 limited range, chroma halved both ways."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    height, width = pictures[0].shape[:2]
    with open(path, "wb") as clip:
        clip.write(f"YUV4MPEG2 W{width} H{height} F{RATE_HZ}:1 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED\n".encode())
        for picture in pictures:
            clip.write(b"FRAME\n")
            for plane in planes(picture):
                clip.write(plane.tobytes())


def planes(picture):
    red, green, blue = (picture[..., channel].astype(float) for channel in range(3))
    luma = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
    blueness = 128 + (-37.797 * red - 74.203 * green + 112.0 * blue) / 255
    redness = 128 + (112.0 * red - 93.786 * green - 18.214 * blue) / 255
    halves = [(part[0::2, 0::2] + part[1::2, 0::2] + part[0::2, 1::2] + part[1::2, 1::2]) / 4
              for part in (blueness, redness)]
    return [np.clip(np.rint(plane), 0, 255).astype(np.uint8) for plane in (luma, *halves)]


def write_mjpeg(path, pictures, quality=88):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as clip:
        for picture in pictures:
            one = io.BytesIO()
            Image.fromarray(picture).save(one, "JPEG", quality=quality)
            clip.write(one.getvalue())


def draw_bar(picture, number):
    """Draws `number` as a bar of cells over the top of the picture, as examples/c/framecode.c reads it."""
    bits = f"{number:016b}"
    cells = "10" + bits + "".join("10"[int(bit)] for bit in bits) + "01"
    assert len(cells) == BAR_CELLS
    height, width = picture.shape[:2]
    rows = max(8, (height + 7) // 15)
    edges = [round(index * width / BAR_CELLS) for index in range(BAR_CELLS + 1)]
    for cell, left, right in zip(cells, edges, edges[1:]):
        picture[:rows, left:right] = 235 if cell == "1" else 16
