"""The Python package without an engine: what authors see in their editors and tests."""

import enum
import sys
import unittest
from pathlib import Path
from typing import Literal

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "sdk/python"))
sys.path.insert(0, str(ROOT / "examples/python"))

import framegate  # noqa: E402
from framegate._params import make  # noqa: E402
from framegate._result import DATA_BYTES_MAX, Refusal, encode  # noqa: E402


class Mode(enum.Enum):
    FAST = "fast"
    GOOD = 2


@framegate.processor(name="typed", format="gray", width=32)
def typed(
    frame: framegate.Frame,
    level: float = framegate.Param(0.5, ge=0, le=1),
    mode: Mode = Mode.FAST,
    size: Literal["s", "m"] = "s",
    colour: framegate.Color = framegate.Color(1, 2, 3),
):
    """Says what it got."""
    return {"size": frame.size, "mean": frame.image.mean(), "all": [level, mode.name, size, str(colour)]}


class Decorated(unittest.TestCase):
    def test_a_function_runs_on_a_picture_in_the_size_and_format_it_wants(self):
        picture = np.full((48, 64, 3), 100, np.uint8)
        result = framegate.test(typed, picture, mode=Mode.GOOD, colour="#ff0000")
        self.assertEqual(result.data, {"size": [32, 24], "mean": 100.0, "all": [0.5, "GOOD", "s", "#ff0000"]})

    def test_parameters_are_checked(self):
        picture = np.zeros((8, 8, 3), np.uint8)
        for value, words in [({"level": 2}, "`level` is 2; it takes 0 to 1"), ({"size": "x"}, "one of s, m"),
                             ({"nope": 1}, "no parameter `nope`"), ({"colour": "red"}, "#rrggbb"),
                             ({"level": float("nan")}, "finite")]:
            with self.assertRaises(ValueError) as caught:
                framegate.test(typed, picture, **value)
            self.assertIn(words, str(caught.exception))

    def test_a_class_keeps_its_state_over_frames_and_sees_read_only_pictures(self):
        @framegate.processor
        class Counter:
            step: int = framegate.Param(2, ge=1, le=5)

            def __init__(self):
                self.count = 0

            def process(self, frame):
                self.count += self.step
                with_error = None
                try:
                    frame.image[0, 0] = 1
                except ValueError as error:
                    with_error = str(error)
                return [self.count, with_error]

        results = framegate.test_frames(Counter, [np.zeros((8, 8, 3), np.uint8)] * 2, step=3)
        self.assertEqual([result.data for result in results],
                         [[3, "assignment destination is read-only"], [6, "assignment destination is read-only"]])

    def test_exceptions_pass_through_and_results_that_cannot_be_delivered_raise(self):
        @framegate.processor
        def broken(frame, nan: bool = False):
            if nan:
                return {"x": float("nan")}
            raise KeyError("gone")

        picture = np.zeros((8, 8, 3), np.uint8)
        with self.assertRaises(KeyError):
            framegate.test(broken, picture)
        with self.assertRaisesRegex(ValueError, r"not_finite: data\['x'\] is nan"):
            framegate.test(broken, picture, nan=True)

    def test_wrong_declarations_name_the_remedy(self):
        for declare, words in [
            (lambda: framegate.processor(name="No Name")(lambda frame: None), "is no name"),
            (lambda: framegate.processor(name="x", format="yuv")(lambda frame: None), "none of bgr"),
            (lambda: framegate.processor(name="x", width=9000)(lambda frame: None), "outside 0 to 8192"),
            (lambda: framegate.processor(name="x")(lambda: None), "takes no frame"),
            (lambda: framegate.processor(type("NoProcess", (), {})), "has no process"),
            (lambda: make("x", float, framegate.Param(0.5, ge=0)), "only one of ge and le"),
            (lambda: make("X", float, 0.5), "lower-case"),
            (lambda: make("x", dict, {}), "use bool, int, float"),
        ]:
            with self.assertRaises((TypeError, ValueError)) as caught:
                declare()
            self.assertIn(words, str(caught.exception))


class Results(unittest.TestCase):
    def test_data_up_to_the_limit_is_taken_and_one_byte_more_is_not(self):
        text = "x" * (DATA_BYTES_MAX - 2)
        self.assertEqual(len(encode(text, (1, 1)).data), DATA_BYTES_MAX)
        with self.assertRaises(Refusal) as caught:
            encode(text + "x", (1, 1))
        self.assertEqual(caught.exception.code, "too_large")

    def test_what_contains_itself_is_refused(self):
        loop = []
        loop.append(loop)
        with self.assertRaises(Refusal) as caught:
            encode({"loop": loop}, (1, 1))
        self.assertEqual(caught.exception.code, "bad_json")

    def test_a_returned_picture_is_a_picture_and_other_arrays_are_data(self):
        self.assertIsNotNone(encode(np.zeros((4, 4, 3), np.uint8), (4, 4)).image)
        self.assertEqual(encode(np.arange(3), (4, 4)).data, b"[0,1,2]")

    def test_pixels_become_fractions(self):
        said = encode(framegate.Box("a", 1, 32, 12, 16, 24, keypoints=[(64, 48)], unit="px"), (64, 48))
        self.assertEqual(said.detections, b'[["a",1.0,0.5,0.25,0.25,0.5,0,[[1.0,1.0,1.0]],false]]')


class Examples(unittest.TestCase):
    def test_the_colour_tracker_finds_the_largest_patch_and_keeps_its_number(self):
        from colour_tracker import ColourTracker, largest_patch
        from skimage.data import astronaut

        photograph = astronaut()[:, :, ::-1]
        frames = []
        for step in range(4):
            frame = photograph.copy()
            frame[100:200, 50 + 40 * step : 170 + 40 * step] = (30, 200, 20)
            frame[400:420, 400:420] = (30, 200, 20)
            frames.append(frame)
        results = framegate.test_frames(ColourTracker, frames, colour="#14c81e", tolerance=0.1)
        for step, result in enumerate(results):
            [box] = result.detections
            for seen, expected in zip((box.x, box.y, box.w, box.h), ((50 + 40 * step) / 512, 100 / 512, 120 / 512, 100 / 512)):
                self.assertAlmostEqual(seen, expected, delta=2 / 160)
            self.assertEqual(box.track, 1)
        self.assertEqual(len(results[-1].data["trail"]), 4)
        self.assertIsNone(largest_patch(np.zeros((4, 4), bool)))

    def test_a_bent_patch_is_one(self):
        from colour_tracker import largest_patch

        mask = np.zeros((9, 9), bool)
        mask[1, 1:8] = mask[1:8, 7] = mask[7, 1:8] = True
        mask[3:5, 2:4] = True
        self.assertEqual(largest_patch(mask), (1, 1, 8, 8, 19))

    def test_the_model_beside_the_template_is_run(self):
        import shutil
        import tempfile

        import onnx
        from onnx import TensorProto, helper

        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(ROOT / "examples/python/onnx_model.py", Path(folder) / "my_model.py")
            # Means of red, green and blue: three classes.
            graph = helper.make_graph(
                [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)], "means",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, "w"])],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])])
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
            (Path(folder) / "labels.txt").write_text("red\ngreen\nblue\n")
            sys.path.insert(0, folder)
            try:
                import my_model
                picture = np.zeros((48, 64, 3), np.uint8)
                with self.assertRaisesRegex(FileNotFoundError, "put your model at"):
                    framegate.test(my_model.OnnxModel, picture)
                onnx.save(model, str(Path(folder) / "model.onnx"))
                picture[:, :, 2] = 255
                result = framegate.test(my_model.OnnxModel, picture)
            finally:
                sys.path.remove(folder)
        self.assertEqual(result.data, {"classes": {"red": 1.0}})


if __name__ == "__main__":
    unittest.main()
