//! What Python processors may not do, and what large libraries still can.

use super::support::Python;
use crate::support::clip;

#[test]
fn python_has_no_more_rights_than_a_library() {
    let mut python = Python::of(
        "
        import ctypes, os, socket, subprocess
        def attempt(function):
            try:
                return f'did it: {function()}'
            except OSError as error:
                return error.errno
        @framegate.processor
        def test(frame):
            sibling = os.getppid()
            return {
                'passwd': attempt(lambda: open('/etc/passwd').read()),
                'write': attempt(lambda: open('/tmp/framegate-test', 'w')),
                'remove': attempt(lambda: os.remove(__file__)),
                'socket': attempt(lambda: socket.socket()),
                'exec': attempt(lambda: os.execv('/bin/true', ['true'])),
                'fork': attempt(os.fork),
                'run': attempt(lambda: subprocess.run(['/bin/true'])),
                'kill': attempt(lambda: os.kill(sibling, 9)),
                'memory': attempt(lambda: open(f'/proc/{sibling}/mem', 'rb').read(1)),
                'environ': attempt(lambda: open(f'/proc/{sibling}/environ', 'rb').read()),
                'own': attempt(lambda: len(open(__file__).read()) > 0),
                'descriptors': sorted(map(int, os.listdir('/proc/self/fd')))[:7],
            }
        ",
    );
    let mut engine = python.nursery.fork_ready();
    let (_, data) = engine.process(1, &clip(64, 48, 1)[0]);
    let said: serde_json::Value = serde_json::from_str(&data).unwrap();
    let (eperm, eacces) = (libc::EPERM, libc::EACCES);
    for (what, expected) in [
        ("passwd", vec![eacces]),
        ("write", vec![eperm, eacces]),
        ("remove", vec![eperm, eacces]),
        ("socket", vec![eperm]),
        ("exec", vec![eperm]),
        ("fork", vec![eperm]),
        ("run", vec![eperm]),
        ("kill", vec![eperm]),
        ("memory", vec![eacces]),
        ("environ", vec![eacces]),
    ] {
        let errno = said[what].as_i64();
        assert!(errno.is_some_and(|errno| expected.iter().any(|e| i64::from(*e) == errno)), "{what}: {}", said[what]);
    }
    assert_eq!(said["own"], "did it: True");
    let open: Vec<i64> = said["descriptors"].as_array().unwrap().iter().filter_map(serde_json::Value::as_i64).collect();
    assert!(open.iter().all(|descriptor| *descriptor <= 9), "its own few descriptors: {open:?}");
}

#[test]
fn memory_without_end_is_an_exception() {
    let mut python = Python::of(
        "
        import numpy as np
        @framegate.processor
        def test(frame):
            return len([np.empty(1 << 28, np.uint8) for _ in range(16)])
        ",
    );
    let mut engine = python.nursery.fork_ready();
    let status = engine.process(1, &clip(64, 48, 1)[0]).0.status;
    let (code, text) = super::support::code_and_text(status);
    assert!(code == "exception" && text.contains("MemoryError"), "{code}: {text}");
}

#[test]
fn opencv_onnxruntime_and_scikit_image_work() {
    let mut python = Python::of(
        "
        import cv2
        import numpy as np
        import onnx
        import onnxruntime
        import skimage.data, skimage.filters
        from onnx import TensorProto, helper
        value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])
        graph = helper.make_graph([helper.make_node('Relu', ['x'], ['y'])], 'g', [value('x')], [value('y')])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8).SerializeToString()
        @framegate.processor
        class Test:
            def __init__(self):
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = 2
                self.session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
            def process(self, frame):
                grey = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)
                edges = cv2.Canny(cv2.GaussianBlur(grey, (5, 5), 0), 10, 20)
                out = self.session.run(None, {'x': np.array([[-1, 0, 1, 2]], np.float32)})[0]
                photograph = skimage.data.astronaut()
                return {'edges': int(edges.max()), 'relu': out, 'photograph': photograph.shape,
                        'otsu': skimage.filters.threshold_otsu(photograph) > 0}
        ",
    );
    let mut engine = python.nursery.fork_ready();
    let (result, data) = engine.process(1, &clip(64, 48, 1)[0]);
    assert_eq!(
        data, "{\"edges\":0,\"relu\":[[0.0,0.0,1.0,2.0]],\"photograph\":[512,512,3],\"otsu\":true}",
        "{:?}",
        result.status
    );
}
