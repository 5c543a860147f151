"""Signal handlers that turn SIGINT, SIGTERM and SIGHUP into a request to stop after the step."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# SIGHUP, sent when the terminal is closed, does not exist on every system.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


class StopRequest:
    """A request to stop; true after a signal.

    Attributes:
        signal: the number of the first signal, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_request(heard: Callable[[int], None]) -> Iterator[StopRequest]:
    """Turn the first signal within the context into a request.

    The second signal has its usual effect immediately. Outside the main thread, where Python cannot
    install signal handlers, there is never a request.

    Args:
        heard: called in the signal handler, once, with the number of the signal.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            # None: the handler was not installed from Python, so it cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def take(number: int, frame: FrameType | None) -> None:
        if request:
            restore()
            os.kill(os.getpid(), number)
            return
        request.signal = number
        # If the message cannot be printed because the terminal is closed, the request still counts.
        with suppress(OSError, RuntimeError, SystemExit):
            heard(number)

    for number, handler in before.items():
        # A shell starts background jobs with SIGINT ignored, nohup with SIGHUP: keep that.
        if handler is not signal.SIG_IGN:
            signal.signal(number, take)
    try:
        yield request
    finally:
        restore()


@contextmanager
def noted_interrupt() -> Iterator[StopRequest]:
    """While the context lasts, take note of Ctrl-C, which raises `KeyboardInterrupt` as ever.

    Python drops what is raised within a destructor or a callback of C, and a library may catch it
    (importing matplotlib does both): the note stays. Outside the main thread nothing is noted.
    """
    request = StopRequest()
    usual = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or usual is not signal.default_int_handler:
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = number
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield request
    finally:
        signal.signal(signal.SIGINT, usual)
