"""A framegate of its own for a test, on a free port, and clips for its clients."""

import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAMS = pathlib.Path(os.environ.get("FRAMEGATE_BIN", TARGET / "debug"))
READY_S = 15


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """Use as a context; `base` is its address."""

    def __init__(self, *sources: str):
        self.folder = tempfile.TemporaryDirectory(prefix="framegate-interop-")
        self.processors = [self._compile(source) for source in sources]
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        arguments = [f"--processor={library}" for library in self.processors]
        self.log = open(pathlib.Path(self.folder.name) / "log", "w+")
        self.process = subprocess.Popen(
            [PROGRAMS / "framegate", "serve", "--listen", f"127.0.0.1:{port}", *arguments],
            cwd=self.folder.name, stdout=self.log, stderr=self.log,
        )

    def _compile(self, source: str) -> pathlib.Path:
        library = pathlib.Path(self.folder.name) / f"{pathlib.Path(source).stem}.so"
        include = ROOT / "crates/framegate-abi/include"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-I", include, ROOT / source, "-o", library], check=True)
        return library

    def clip(self, **options) -> pathlib.Path:
        """A numbered VP8 clip."""
        path = pathlib.Path(self.folder.name) / f"{options.get('size', '640x480')}.ivf"
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        subprocess.run([PROGRAMS / "framegate-engine", "clip", "--output", path, *words], check=True)
        return path

    def __enter__(self):
        end = time.monotonic() + READY_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.base}/readyz"):
                    return self
            except (urllib.error.URLError, ConnectionError) as error:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.__exit__()
                    raise RuntimeError(f"framegate is not ready: {error}") from error
                time.sleep(0.05)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
        self.log.close()
        self.folder.cleanup()
