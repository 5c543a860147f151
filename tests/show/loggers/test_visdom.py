"""The real server, read back with Visdom's client, and servers that are not as they should be."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest
from servers import running

from fnet.show.loggers import VisdomLog, visdom

needs_server = pytest.mark.skipif(
    importlib.util.find_spec("visdom") is None,
    reason='needs visdom: pip install "setuptools<81", then '
    "pip install --no-build-isolation visdom==0.2.4",
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(visdom, "_BATCH_SECONDS", 0.02)
    monkeypatch.setattr(visdom, "_CLOSE_SECONDS", 0.5)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The port of a Visdom server."""
    home, port = tmp_path_factory.mktemp("visdom"), free_port()
    code = (
        "import sys; from visdom.server.run_server import main; "
        f"sys.argv = ['visdom', '-port', '{port}', '-env_path', {str(home)!r}, '-bind_local']; "
        "main()"
    )
    log = (home / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=log,
    )
    try:
        for _ in range(150):
            if process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        assert process.poll() is None, (home / "log").read_text()
        yield port
    finally:
        process.kill()
        process.wait()
        log.close()


def window(port, name):
    """The lines of a window, as Visdom's own client reads them: {"train": (x, y)}."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client's own
        from visdom import Visdom

        client = Visdom(server="http://127.0.0.1", port=port, use_incoming_socket=False)
        content = json.loads(client.get_window_data(win=name))
    return {line["name"]: (line["x"], line["y"]) for line in content["content"]["data"]}


def send(log, steps, pause=0.0):
    log.start(None)
    for step in steps:
        log.step(step, {"loss": 1 / step, "accuracy": 0.5})
        time.sleep(pause)
        if step % 10 == 0:
            log.epoch({"epoch": step // 10, "step": step, "test_loss": float(step)})
    log.close()


@needs_server
def test_a_line_is_appended_to_one_window(server):
    warned = []
    log = VisdomLog(f"http://127.0.0.1:{server}/", "lenet5_loss", warned.append)
    send(log, range(1, 31), pause=0.01)  # several batches
    assert window(server, "lenet5_loss") == {
        "train": (list(range(1, 31)), [1 / n for n in range(1, 31)]),
        "test": ([10, 20, 30], [10.0, 20.0, 30.0]),
    }
    assert warned == []


@needs_server
def test_a_run_starts_a_window_anew(server):
    for steps in (range(1, 6), range(1, 4)):
        send(VisdomLog(f"http://127.0.0.1:{server}", "again_loss", pytest.fail), steps)
    assert window(server, "again_loss")["train"][0] == [1, 2, 3]


@needs_server
def test_a_loss_that_is_not_finite_is_a_gap(server):
    log = VisdomLog(f"http://127.0.0.1:{server}", "nan_loss", pytest.fail)
    log.start(None)
    for step, loss in enumerate([1.0, float("nan"), float("inf"), 2.0]):
        log.step(step, {"loss": loss})
    log.close()
    assert window(server, "nan_loss")["train"] == ([0, 1, 2, 3], [1.0, None, None, 2.0])


@contextmanager
def broken(kind):
    """The address of a server that "hangs", "fails", "drips", "is no web server" or "is absent"."""
    if kind == "is absent":
        yield f"http://127.0.0.1:{free_port()}"
        return
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.close_connection = True
            match kind:
                case "hangs":
                    closing.wait()
                case "fails":
                    self.send_error(500)
                case "is no web server":
                    self.wfile.write(b"220 mail.example.org ready\r\n")
                case "drips":
                    self.send_response(200)
                    self.end_headers()
                    while not closing.wait(0.05):
                        self.wfile.write(b"X")

        def log_message(self, *_):
            pass

    with running(Handler, closing) as address:
        yield address


@pytest.mark.parametrize("kind", ["is absent", "fails", "hangs", "drips", "is no web server"])
def test_a_broken_server_gets_one_warning_and_costs_no_time(kind, monkeypatch):
    monkeypatch.setattr(visdom, "_PENDING", 100)
    warned = []
    with broken(kind) as url:
        log = VisdomLog(url, "x_loss", warned.append)
        log.start(None)
        started = time.monotonic()
        for step in range(20_000):
            log.step(step, {"loss": 1.0})
        assert time.monotonic() - started < 1.0
        log.close()
        log.close()
        assert time.monotonic() - started < 3.0  # one wait of the two is 0.5 s
    (warning,) = warned
    assert url in warning
    assert "--visdom" in warning


def test_what_was_never_started_can_be_closed():
    VisdomLog("http://127.0.0.1:1", "x_loss", pytest.fail).close()
