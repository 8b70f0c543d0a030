"""Every example of examples/{cpp,foreign,existing-library} on clips of real photographs, through `framegate run`."""

import json
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import clips
import face_clip
import scenes
from framegate_run import PICTURES, ROOT, RunFailed, box_around, framegate, overlap, run

OVERLAP_MIN = 0.7
CORNER_MAX = 0.015  # fractions of the picture: ten pixels across, seven down
FLOW_PX_MAX = 0.3
CPP = ROOT / "examples" / "cpp"
FOREIGN = ROOT / "examples" / "foreign"
C = ROOT / "examples" / "c"


class Examples(unittest.TestCase):
    """Makes a scene once and gives its clip and what is known about it."""

    made = {}

    def scene(self, name):
        if name not in self.made:
            scene = getattr(scenes, name)()
            clip = PICTURES / f"{name}.y4m"
            clips.write_y4m(clip, scene.pictures)
            Examples.made[name] = (clip, scene.known)
        return self.made[name]

    def run_ok(self, clip, *processors, **options):
        results = run(clip, *processors, **options)
        for index, result in enumerate(results):
            self.assertEqual("ok", result["status"], result)
            self.assertEqual(index + 1, result["seq"])
        return results

    def results(self, name, *processors, **options):
        """Pairs of what is known and what was said, for each picture of a scene."""
        clip, known = self.scene(name)
        results = self.run_ok(clip, *processors, **options)
        self.assertEqual(len(known), len(results), "a result for each picture")
        return list(zip(known, results))

    def assert_near(self, known, box, least=OVERLAP_MIN):
        common = overlap(known, box)
        self.assertGreaterEqual(common, least, f"{box} should be {known}")

    def assert_corners(self, known, detection):
        """The same four corners, beginning with any of them, in either direction."""
        self.assertTrue(detection.get("outline"), detection)
        found = [point[:2] for point in detection["keypoints"]]
        self.assertEqual(4, len(found))
        turns = [way[shift:] + way[:shift] for way in (found, found[::-1]) for shift in range(4)]
        apart = min(max(abs(a - b) for one, other in zip(known, turn) for a, b in zip(one, other)) for turn in turns)
        self.assertLessEqual(apart, CORNER_MAX, f"{found} should be {known}")


class Faces(Examples):
    def test_the_face_is_found_in_each_picture(self):
        for known, result in self.results("faces", CPP / "faces.cpp"):
            self.assertEqual(["face"], [found["label"] for found in result["detections"]])
            self.assert_near(known["box"], result["detections"][0]["box"])
            self.assertEqual({"faces": 1}, result["data"])

    def test_a_cup_of_coffee_is_no_face(self):
        for _, result in self.results("pan", CPP / "faces.cpp"):
            self.assertEqual([], result["detections"])

    def test_a_face_smaller_than_wanted_is_none(self):
        for _, result in self.results("faces", CPP / "faces.cpp", settings=["min_size=80"]):
            self.assertEqual([], result["detections"])

    def test_dlib_finds_the_same_face(self):
        for known, result in self.results("faces", FOREIGN / "dlib.cpp"):
            self.assertEqual(["face"], [found["label"] for found in result["detections"]])
            # Its sizes are steps of a sixth, its places steps of eight pixels in a picture three quarters as wide.
            self.assert_near(known["box"], result["detections"][0]["box"], least=0.6)

    def test_the_clip_of_the_camera_tells_picture_and_face(self):
        """What the browser tests rely on: the number in each picture belongs to the face in it."""
        face_clip.write(PICTURES / "camera")
        known = json.loads((PICTURES / "camera" / "face.json").read_text())
        clip = PICTURES / "camera" / "face.mjpeg"
        numbers = [result["data"]["number"] for result in self.run_ok(clip, C / "framecode.c")]
        self.assertEqual(list(range(face_clip.PICTURES)), numbers)
        results = self.run_ok(clip, CPP / "faces.cpp")
        self.assertEqual(len(numbers), len(results))
        for face, result in zip(known["faces"], results):
            self.assertEqual(1, len(result["detections"]), result)
            self.assert_near(face, result["detections"][0]["box"])


class Codes(Examples):
    def test_qr_says_text_and_place(self):
        for known, result in self.results("qr", CPP / "qr.cpp"):
            (part,), (found,) = known["parts"], result["detections"]
            self.assertEqual({"codes": [{"text": scenes.QR_TEXT}]}, result["data"])
            self.assert_near(box_around(part["corners"]), found["box"])
            self.assert_corners(part["corners"], found)

    def test_qr_sees_no_code_in_a_face(self):
        for _, result in self.results("faces", CPP / "qr.cpp"):
            self.assertEqual([], result["detections"])

    def test_zbar_reads_bars_and_qr(self):
        for known, result in self.results("bars", FOREIGN / "zbar.c"):
            texts = {code["kind"]: code["text"] for code in result["data"]}
            self.assertEqual({"EAN-13": scenes.EAN_DIGITS, "QR-Code": scenes.SHORT_TEXT}, texts)
            places = {part["name"]: part["corners"] for part in known["parts"]}
            for found in result["detections"]:
                corners = places["qr" if found["label"] == "QR-Code" else "ean"]
                self.assert_near(box_around(corners), found["box"])
                if found["label"] == "QR-Code":
                    self.assert_corners(corners, found)

    def test_zbar_reads_only_the_wanted_kind(self):
        for kind, label in (("bars", "EAN-13"), ("qr", "QR-Code")):
            for _, result in self.results("bars", FOREIGN / "zbar.c", settings=[f"kind={kind}"]):
                self.assertEqual([label], [found["label"] for found in result["detections"]])

    def test_zbar_says_what_umlauts_are(self):
        for _, result in self.results("qr", FOREIGN / "zbar.c"):
            self.assertEqual([scenes.QR_TEXT], [code["text"] for code in result["data"]])

    def test_april_tags_have_number_corners_and_distance(self):
        for known, result in self.results("tags", FOREIGN / "apriltag.c", settings=["side=0.2"]):
            found = {int(one["label"]): one for one in result["detections"]}
            self.assertEqual(set(scenes.TAGS), set(found))
            for part in known["parts"]:
                self.assert_near(box_around(part["corners"]), found[part["name"]]["box"])
                self.assert_corners(part["corners"], found[part["name"]])
            at_m = {tag["tag"]: tag["at_m"] for tag in result["data"]}
            self.assertLess(at_m[scenes.TAGS[0]][0], 0, "the first tag is on the left")
            self.assertGreater(at_m[scenes.TAGS[1]][0], 0, "the second tag is on the right")
            # 178 pixels wide, seen through 60 degrees on 640 pixels: 0.2 m * 554 px / 178 px.
            self.assertAlmostEqual(0.62, at_m[scenes.TAGS[0]][2], delta=0.05)


class Movement(Examples):
    def test_flow_is_the_movement_of_the_camera(self):
        for known, result in self.results("pan", CPP / "flow.cpp"):
            if known["flow_px"] is None:
                self.assertEqual(0, result["data"]["points"])
                continue
            self.assertGreater(result["data"]["points"], 50)
            for told, true in zip(result["data"]["mean_px"], known["flow_px"]):
                self.assertAlmostEqual(true, told, delta=FLOW_PX_MAX)

    def test_a_repeated_run_says_the_same(self):
        clip, _ = self.scene("pan")
        first, second = (framegate("run", clip, "-p", CPP / "flow.cpp")[0] for _ in range(2))
        self.assertEqual(first, second)


class Edges(Examples):
    def test_edges_are_where_detail_is(self):
        for known, result in self.results("outlines", CPP / "edges.cpp"):
            if known["many"]:
                self.assertGreater(result["data"]["share"], 0.02)
            else:
                self.assertLess(result["data"]["share"], 0.002)

    def test_the_next_processor_sees_the_drawn_edges(self):
        plain = self.results("outlines", C / "brightness.c")
        drawn = self.results("outlines", CPP / "edges.cpp", C / "brightness.c")
        for (known, before), (_, after) in zip(plain, drawn):
            share, mean = after["data"]["edges"]["share"], after["data"]["brightness"]["mean"]
            self.assertGreater(before["data"]["mean"], 40, known)
            # White lines on black: as bright as there are lines.
            self.assertAlmostEqual(255 * share, mean, delta=1)

    def test_a_value_out_of_range_is_refused(self):
        clip, _ = self.scene("outlines")
        with self.assertRaisesRegex(RunFailed, "high.*500"):
            run(clip, CPP / "edges.cpp", settings=["high=501"])


class ExistingLibrary(Examples):
    """The library of examples/existing-library, built as its README says."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="framegate-spots-")
        kit = framegate("sdk")[0].strip()
        variables = {"PKG_CONFIG_PATH": f"{kit}/lib/pkgconfig"}
        build = Path(cls.folder.name) / "build"
        source = ROOT / "examples" / "existing-library"
        for words in (["cmake", "-S", source, "-B", build], ["cmake", "--build", build]):
            done = subprocess.run(["env", *[f"{key}={value}" for key, value in variables.items()], *words],
                                  capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        # Moved as a whole: nothing in it may remember where it was built.
        cls.installed = Path(cls.folder.name) / "elsewhere"
        cls.installed.mkdir()
        for name in ("spots.so", "liblumen.so"):
            shutil.copy(build / name, cls.installed)
        shutil.copytree(build / "profiles", cls.installed / "profiles")
        shutil.rmtree(build)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_spots_are_the_lamps(self):
        for known, result in self.results("lamps", self.installed / "spots.so"):
            self.assertEqual(len(known["boxes"]), len(result["detections"]))
            for box in known["boxes"]:
                self.assert_near(box, max((found["box"] for found in result["detections"]), key=lambda b: overlap(box, b)))

    def test_what_it_prints_is_heard(self):
        clip, _ = self.scene("lamps")
        _, said = framegate("run", clip, "-p", self.installed / "spots.so")
        self.assertIn("lumen 2.3.1: 2 workers", said)

    def test_its_own_words_say_why_it_cannot_start(self):
        clip, _ = self.scene("lamps")
        with tempfile.TemporaryDirectory() as folder:
            for name in ("spots.so", "liblumen.so"):
                shutil.copy(self.installed / name, folder)
            with self.assertRaisesRegex(RunFailed, "cannot open profile .*indoor.profile"):
                run(clip, Path(folder) / "spots.so")

    def test_the_adapter_is_short(self):
        lines = (ROOT / "examples" / "existing-library" / "spots.cpp").read_text().splitlines()
        self.assertLessEqual(len(lines), 40)


if __name__ == "__main__":
    unittest.main()
