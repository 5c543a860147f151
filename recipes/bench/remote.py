"""The parent's side of a contender: it starts the child process and sends it requests."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from recipes.bench.contender import Failure, Sample
from recipes.bench.roster import Candidate
from recipes.bench.work import Work

_LOOK_SECONDS = 0.5
_END_SECONDS = 10.0


class ContenderError(Exception):
    """A contender that has failed; the message says why."""


class Remote:
    """A contender in its own process, after set-up and the first training step.

    Attributes:
        note: the note of the candidate.
        kinds: the kinds of its streams: "train", and for some contenders "eval".
        set_up_seconds: from the start of the process to the end of the first training step, with
            an empty compile cache.

    Raises:
        ContenderError: the contender failed before that.
    """

    def __init__(self, work: Work, candidate: Candidate, scratch: Path) -> None:
        own = Path(tempfile.mkdtemp(dir=scratch))
        self._said = own / "said.txt"
        begin = time.perf_counter()
        self._pipe, theirs = Pipe()
        with self._said.open("wb") as said:
            # Not with multiprocessing, whose child process would import the benchmark's modules.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "recipes.bench.child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                    "OMP_NUM_THREADS": str(work.threads),
                    "TORCHINDUCTOR_CACHE_DIR": str(own / "compiled"),
                },
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        theirs.close()
        self.note = candidate.note
        try:
            self.kinds: tuple[str, ...] = self._ask((work, candidate))
            self.timing("train", 0.0)
        except BaseException:
            self.close()
            raise
        self.set_up_seconds = time.perf_counter() - begin

    def timing(self, kind: str, seconds: float) -> Sample:
        """Run for about this many seconds, at least one step.

        Raises:
            ContenderError: the contender failed, or its process has ended.
        """
        sample: Sample = self._ask((kind, seconds))
        return sample

    def close(self) -> None:
        """End the process."""
        try:
            self._pipe.send(None)
        except OSError:
            pass  # it has ended
        finally:
            self._pipe.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, request: Any) -> Any:
        try:
            self._pipe.send(request)
            # A grandchild process can keep the pipe open, so check the process as well.
            while not self._pipe.poll(_LOOK_SECONDS):
                if self._process.poll() is not None and not self._pipe.poll():
                    raise ContenderError(self._how_it_ended())
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise ContenderError(self._how_it_ended()) from None
        if isinstance(answer, Failure):
            raise ContenderError(answer.message)
        return answer

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "its process no longer answers"
        if code < 0:
            return f"its process was killed by {signal.Signals(-code).name} (out of memory?)"
        last = self._said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        return ": ".join([f"its process ended with exit code {code}", *last])
