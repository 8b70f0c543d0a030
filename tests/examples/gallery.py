"""Makes target/gallery: what `framegate run --video` shows of each example on a photograph.

    target/venv-pictures/bin/pip install av
    target/venv-pictures/bin/python tests/examples/gallery.py

Their photographs are free of rights, says scikit-image, which they come from: NASA's portrait of Eileen Collins, a cup of
coffee and a rocket.
"""

import tempfile
from pathlib import Path

import av

import clips
import scenes
from framegate_run import ROOT, framegate

SIZE = (320, 240)
COLOURS = 160  # keeps a picture below 60 KB
# Name, source, scene, which of its pictures, values of parameters.
PICTURES = [
    ("faces", "cpp/faces.cpp", "faces", 3, []),
    ("qr", "cpp/qr.cpp", "qr", 4, []),
    ("flow", "cpp/flow.cpp", "pan", 4, ["arrows=8"]),
    ("edges", "cpp/edges.cpp", "outlines", 0, []),
    ("zbar", "foreign/zbar.c", "bars", 3, []),
    ("apriltag", "foreign/apriltag.c", "tags", 2, []),
    ("dlib", "foreign/dlib.cpp", "faces", 9, []),
]


def main():
    for name, source, scene, index, settings in PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            clip, film = Path(folder) / "clip.y4m", Path(folder) / "film.mp4"
            clips.write_y4m(clip, getattr(scenes, scene)().pictures)
            words = [word for setting in settings for word in ("--set", setting)]
            framegate("run", clip, "-p", ROOT / "examples" / source, "--video", film, *words)
            with av.open(str(film)) as opened:
                picture = list(opened.decode(video=0))[index].to_image()
        path = ROOT / "target" / "gallery" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.resize(SIZE).quantize(COLOURS).save(path, optimize=True)
        print(path)


if __name__ == "__main__":
    main()
