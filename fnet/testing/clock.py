"""A fake clock that a test can set forward, in place of the clocks of `time` and `datetime`."""

import datetime
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

_SECONDS = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
_NANOSECONDS = tuple(f"{name}_ns" for name in _SECONDS)
_REAL: dict[str, Callable[[], Any]] = {n: getattr(time, n) for n in (*_SECONDS, *_NANOSECONDS)}
_DATETIME, _DATE = datetime.datetime, datetime.date


def is_clock(value: Any) -> bool:
    """Return whether a value is a clock (a function or class) of the standard library.

    >>> is_clock(time.perf_counter), is_clock(time.sleep)
    (True, False)
    """
    return value is _DATETIME or value is _DATE or any(value is real for real in _REAL.values())


@contextmanager
def shifted(seconds: float, bindings: Iterable[Callable[[Any], Any]] = ()) -> Iterator[None]:
    """Patch the clocks of `time` and `datetime` to be ahead by `seconds`.

    Args:
        seconds: the shift.
        bindings: for each name that is bound to a clock (`from time import time`), a function that
            binds it to another object and returns the previous one.
    """
    fakes: dict[int, Any] = {}
    for name, real in _REAL.items():
        offset = round(seconds * 1e9) if name.endswith("_ns") else seconds
        fakes[id(real)] = lambda real=real, offset=offset: real() + offset
    fakes[id(_DATETIME)], fakes[id(_DATE)] = _later(datetime.timedelta(seconds=seconds))
    with ExitStack() as stack:
        for name, real in _REAL.items():
            stack.enter_context(mock.patch.object(time, name, fakes[id(real)]))
        stack.enter_context(mock.patch.object(datetime, "datetime", fakes[id(_DATETIME)]))
        stack.enter_context(mock.patch.object(datetime, "date", fakes[id(_DATE)]))
        for bind in bindings:
            before = bind(None)
            bind(fakes.get(id(before), before))
            stack.callback(bind, before)
        yield


def _later(delta: datetime.timedelta) -> tuple[type, type]:
    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return _DATETIME.now(tz) + delta

        @classmethod
        def today(cls) -> Any:
            return _DATETIME.today() + delta

        @classmethod
        def utcnow(cls) -> Any:
            return _DATETIME.now(datetime.UTC).replace(tzinfo=None) + delta

    class LaterDate(datetime.date):
        @classmethod
        def today(cls) -> Any:
            return (_DATETIME.today() + delta).date()

    return Later, LaterDate
