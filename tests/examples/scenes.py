"""Scenes made from real photographs: pictures whose content is known, because this file put it there.

The photographs come with scikit-image. A scene is a number of pictures 640 x 480 and, for each, what is to be found.
Places are boxes `[x, y, w, h]` and corners `[[x, y], ...]`, both in fractions of the picture, origin top-left.
"""

import ctypes
from dataclasses import dataclass, field

import numpy as np
import segno
import skimage.data
from PIL import Image
from skimage.transform import ProjectiveTransform, warp

WIDTH, HEIGHT = 640, 480

# The face in skimage's astronaut, in its pixels: the square that detectors are trained to see. Its middle is between the
# eyes (203, 99 and 247, 99) and the mouth; the eyes stand at three tenths of its height, 0.44 of its side apart.
FACE = (175.0, 70.0, 274.0, 169.0)

QR_TEXT = "https://example.org/?q=Gr\u00fc\u00dfe&frame=7"
SHORT_TEXT = "framegate"
EAN_DIGITS = "4006381333931"
TAGS = (3, 42)


@dataclass
class Scene:
    """Pictures as `uint8` arrays height x width x 3 (RGB), and for each what it shows."""

    pictures: list = field(default_factory=list)
    known: list = field(default_factory=list)


def faces(count=12):
    """One face while the camera moves nearer and aside."""
    ways = [index / count for index in range(count)]
    return looked_at([(0.78 - 0.22 * way, 6 + 60 * way, 4 + 8 * way) for way in ways])


def swinging_face(count=150):
    """The face swings from side to side, eight pixels a picture at most, and ends where it began: a box of four pictures
    ago is visibly beside it."""
    turns = [2 * np.pi * index / count for index in range(count)]
    return looked_at([(0.62 + 0.05 * np.cos(turn), 41 + 40 * np.sin(3 * turn), 10.0) for turn in turns])


def looked_at(views):
    """The astronaut as seen in `views`: pixels of the photograph for one of ours, and its left and top edge in them."""
    photograph = skimage.data.astronaut() / 255.0
    scene = Scene()
    for scale, left, top in views:
        to_photograph = np.array([[scale, 0, left], [0, scale, top], [0, 0, 1]])
        scene.pictures.append(to_bytes(view(photograph, to_photograph)))
        x0, y0, x1, y1 = ((FACE[i] - (left, top)[i % 2]) / scale for i in range(4))
        scene.known.append({"box": fractions_of(x0, y0, x1, y1)})
    return scene


def qr(count=6):
    """A QR code on a sheet held into the picture, seen from several sides."""
    code = segno.make(QR_TEXT, error="m", micro=False)
    sheet = np.kron(np.array(code.matrix, dtype=float), np.ones((8, 8)))
    return sheets(skimage.data.coffee(), [(1 - sheet, 4 * 8, "qr")], count)


def bars(count=6):
    """An EAN-13 bar code and a QR code side by side."""
    stripes = np.kron(np.array([[int(bit) for bit in ean13(EAN_DIGITS)]], dtype=float), np.ones((110, 3)))
    code = np.kron(np.array(segno.make(SHORT_TEXT, error="m", micro=False).matrix, dtype=float), np.ones((6, 6)))
    return sheets(skimage.data.rocket(), [(1 - stripes, 30, "ean"), (1 - code, 24, "qr")], count, tilt=0.3)


def tags(count=6):
    """Two AprilTags, drawn by the library itself."""
    parts = [(april_tag(number), 20, number) for number in TAGS]
    return sheets(skimage.data.coffee(), parts, count)


def pan(count=8, step=(3.0, -2.0)):
    """The camera moves evenly: everything in the picture moves by `step` pixels a frame."""
    photograph = skimage.data.coffee() / 255.0
    scale = 0.8  # pixels of the photograph for one of ours
    scene = Scene()
    for index in range(count):
        left, top = 40 - scale * step[0] * index, 2 - scale * step[1] * index
        to_photograph = np.array([[scale, 0, left], [0, scale, top], [0, 0, 1]])
        scene.pictures.append(to_bytes(view(photograph, to_photograph)))
        scene.known.append({"flow_px": list(step) if index else None})
    return scene


def outlines():
    """A photograph, and the same with all its detail smoothed away: many edges, then hardly any."""
    photograph = fill(skimage.data.coffee() / 255.0)
    small = Image.fromarray(to_bytes(photograph)).resize((8, 6), Image.Resampling.BOX)
    smooth = small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return Scene([to_bytes(photograph), np.asarray(smooth)], [{"many": True}, {"many": False}])


def lamps(count=5):
    """A dark photograph with two lamps in it that wander."""
    photograph = 0.4 * fill(skimage.data.coffee() / 255.0)
    scene = Scene()
    for index in range(count):
        picture, boxes = photograph.copy(), []
        for left, top, width, height in ((61 + 37 * index, 90, 140, 100), (420 - 11 * index, 250 + 13 * index, 90, 120)):
            picture[top:top + height, left:left + width] = 0.97
            boxes.append(fractions_of(left, top, left + width, top + height))
        scene.pictures.append(to_bytes(picture))
        scene.known.append({"boxes": boxes})
    return scene


def sheets(photograph, parts, count, tilt=1.0):
    """Black-on-white `parts` (picture, white margin in pixels, name), each in its place of the photograph, tilted a
    little differently in each of the pictures. The known corners are those of the part without its margin, in the
    order top left, top right, bottom right, bottom left of the part."""
    scene = Scene()
    background = fill(photograph / 255.0)
    for index in range(count):
        picture, known = background.copy(), []
        for place, (part, margin, name) in enumerate(parts):
            middle = (WIDTH * (2 * place + 1) / (2 * len(parts)), HEIGHT * (0.44 + 0.02 * index))
            outer = quadrilateral(middle, np.pad(part, margin).shape, tilt * (index - count / 2 + 0.3))
            height, width = part.shape
            sheet = np.pad(part, margin, constant_values=1.0)
            corners = np.array([[0, 0], [sheet.shape[1], 0], [sheet.shape[1], sheet.shape[0]], [0, sheet.shape[0]]])
            to_picture = ProjectiveTransform.from_estimate(corners, outer)
            picture = paste(picture, sheet, to_picture)
            inner = np.array([[0, 0], [width, 0], [width, height], [0, height]]) + margin
            known.append({"name": name, "corners": (to_picture(inner) / (WIDTH, HEIGHT)).tolist()})
        scene.pictures.append(to_bytes(picture))
        scene.known.append({"parts": known})
    return scene


def quadrilateral(middle, shape, amount):
    """The corners of a sheet that is turned by `amount` times four degrees and leans back a little."""
    half = np.array([shape[1], shape[0]]) / 2 * min(1.0, 270 / max(shape))
    angle = np.radians(4 * amount)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    lean = 1 + 0.02 * amount
    square = np.array([[-lean, -1], [lean, -1], [1 / lean, 1], [-1 / lean, 1]]) * half
    return square @ turn.T + middle


def paste(picture, sheet, to_picture):
    """Draws a grey sheet over the picture."""
    covered = warp(np.ones_like(sheet), to_picture.inverse, output_shape=picture.shape[:2], order=1)
    drawn = warp(sheet, to_picture.inverse, output_shape=picture.shape[:2], order=1)
    # Paper is not as white, and print not as black, as the extremes of a sensor.
    return picture * (1 - covered)[..., None] + (0.08 * covered + 0.84 * drawn)[..., None]


def view(photograph, to_photograph):
    return warp(photograph, ProjectiveTransform(matrix=to_photograph), output_shape=(HEIGHT, WIDTH), order=1)


def fill(photograph):
    """The middle of a photograph in our size."""
    height, width = photograph.shape[:2]
    scale = min(width / WIDTH, height / HEIGHT)
    left, top = (width - WIDTH * scale) / 2, (height - HEIGHT * scale) / 2
    return view(photograph, np.array([[scale, 0, left], [0, scale, top], [0, 0, 1]]))


def to_bytes(picture):
    return np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)


def fractions_of(left, top, right, bottom):
    return [left / WIDTH, top / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT]


def ean13(digits):
    """The 95 modules of an EAN-13 bar code as text of 0 (white) and 1 (black). Source: GS1 General Specifications 5.2."""
    odd = ["0001101", "0011001", "0010011", "0111101", "0100011", "0110001", "0101111", "0111011", "0110111", "0001011"]
    right = ["".join("10"[int(bit)] for bit in code) for code in odd]
    even = [code[::-1] for code in right]
    first = ["OOOOOO", "OOEOEE", "OOEEOE", "OOEEEO", "OEOOEE", "OEEOOE", "OEEEOO", "OEOEOE", "OEOEEO", "OEEOEO"]
    check = -sum(int(digit) * (3 if index % 2 else 1) for index, digit in enumerate(digits[:12])) % 10
    assert int(digits[12]) == check, f"the check digit of {digits} is {check}"
    parity = first[int(digits[0])]
    left_part = "".join((odd if kind == "O" else even)[int(digit)] for kind, digit in zip(parity, digits[1:7]))
    return "101" + left_part + "01010" + "".join(right[int(digit)] for digit in digits[7:]) + "101"


class ImageU8(ctypes.Structure):
    """AprilTag's `image_u8_t`."""

    _fields_ = [("width", ctypes.c_int32), ("height", ctypes.c_int32), ("stride", ctypes.c_int32),
                ("bytes", ctypes.POINTER(ctypes.c_uint8))]


def april_tag(number, side=22):
    """A tag of the family 36h11 without its white border, one of its cells being `side` pixels."""
    library = ctypes.CDLL("libapriltag.so.3")
    library.tag36h11_create.restype = ctypes.c_void_p
    library.apriltag_to_image.restype = ctypes.POINTER(ImageU8)
    library.apriltag_to_image.argtypes = [ctypes.c_void_p, ctypes.c_int]
    # Debian's library does not export what frees a picture: a few KiB stay until this program ends.
    drawn = library.apriltag_to_image(library.tag36h11_create(), number).contents
    rows = np.ctypeslib.as_array(drawn.bytes, (drawn.height, drawn.stride))[:, :drawn.width] / 255.0
    return np.kron(rows[1:-1, 1:-1], np.ones((side, side)))
