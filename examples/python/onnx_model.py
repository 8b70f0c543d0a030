"""Runs a model of your own on live video: put it beside this file as model.onnx.

    python3 -m venv venv && venv/bin/pip install numpy onnxruntime
    framegate serve -p examples/python/onnx_model.py

It feeds the picture as 1 x 3 x height x width, RGB, 0 to 1, and takes the first output: one row of numbers is taken for
scores of classes, rows of `x, y, w, h, score, class…` in pixels of the input for boxes. Change `prepare` and `understand`
to what your model was trained with. labels.txt, one name a line, names the classes.
"""

import numpy as np
import onnxruntime

import framegate


@framegate.processor(name="onnx-model", version="1.0.0", format="rgb")
class OnnxModel:
    """Runs model.onnx on each frame."""

    threshold: float = framegate.Param(0.5, ge=0, le=1, step=0.01, label="Threshold")
    count: int = framegate.Param(5, ge=1, le=100, label="At most")

    def __init__(self, stream):
        file = stream.folder / "model.onnx"
        if not file.exists():
            raise FileNotFoundError(f"put your model at {file}")
        options = onnxruntime.SessionOptions()
        # Parallel are the streams themselves.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]
        names = stream.folder / "labels.txt"
        self.labels = names.read_text().splitlines() if names.exists() else []

    def process(self, frame):
        picture = self.prepare(frame.image)
        output = self.session.run(None, {self.input.name: picture})[0]
        return self.understand(output, picture.shape[3], picture.shape[2])

    def prepare(self, image):
        """The picture as the model takes it. A size that the model leaves open is the picture's own."""
        _, _, height, width = self.input.shape
        height = height if isinstance(height, int) else image.shape[0]
        width = width if isinstance(width, int) else image.shape[1]
        rows = np.arange(height) * image.shape[0] // height
        columns = np.arange(width) * image.shape[1] // width
        picture = image[rows][:, columns].transpose(2, 0, 1)[None]
        return np.ascontiguousarray(picture, dtype=np.float32) / 255

    def understand(self, output, width, height):
        """What the model's numbers mean."""
        rows = output.reshape(-1, output.shape[-1])
        if len(rows) == 1:
            best = np.argsort(rows[0])[::-1][: self.count]
            scores = {self.label(index): float(rows[0][index]) for index in best if rows[0][index] >= self.threshold}
            return {"classes": scores}
        found = rows[rows[:, 4] >= self.threshold]
        found = found[np.argsort(-found[:, 4])][: self.count]
        boxes = []
        for x, y, w, h, score, *classes in found:
            label = self.label(int(np.argmax(classes))) if classes else ""
            boxes.append(framegate.Box(label, float(score), x / width, y / height, w / width, h / height))
        return boxes

    def label(self, index):
        return self.labels[index] if index < len(self.labels) else str(index)
