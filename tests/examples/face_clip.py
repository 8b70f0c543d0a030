"""Makes the clip that Chromium plays as its camera: a real face that moves, each picture with its number in it.

    target/venv-pictures/bin/python tests/examples/face_clip.py [FOLDER]

writes FOLDER/face.mjpeg (640 x 480, 30 pictures a second, 5 s, its end fits its beginning) and FOLDER/face.json:
`{"width", "height", "rate_hz", "faces": [[x, y, w, h], ...]}`, where the face is in picture n, in fractions. The number
n is the bar over the top that examples/c/framecode.c reads. FOLDER is target/pictures/camera unless given. For Chromium:

    --use-fake-device-for-media-stream --use-file-for-fake-video-capture=FOLDER/face.mjpeg
"""

import json
import sys
from pathlib import Path

import clips
import scenes

PICTURES = 150


def main():
    root = Path(__file__).resolve().parents[2]
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "target" / "pictures" / "camera"
    write(folder)
    print(folder / "face.mjpeg")


def write(folder):
    scene = scenes.swinging_face(PICTURES)
    for number, picture in enumerate(scene.pictures):
        clips.draw_bar(picture, number)
    clips.write_mjpeg(folder / "face.mjpeg", scene.pictures)
    known = {"width": scenes.WIDTH, "height": scenes.HEIGHT, "rate_hz": clips.RATE_HZ,
             "faces": [[round(part, 5) for part in one["box"]] for one in scene.known]}
    (folder / "face.json").write_text(json.dumps(known) + "\n")


if __name__ == "__main__":
    main()
