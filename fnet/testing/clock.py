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
_OF_NOW: dict[str, Callable[..., Any]] = {
    name: getattr(time, name) for name in ("localtime", "gmtime", "ctime", "asctime", "strftime")
}
_DATETIME, _DATE = datetime.datetime, datetime.date


def is_clock(value: Any) -> bool:
    """Return whether a value is a clock (a function or class) of the standard library.

    >>> is_clock(time.perf_counter), is_clock(time.sleep)
    (True, False)
    """
    real = (_DATETIME, _DATE, *_REAL.values(), *_OF_NOW.values())
    return any(value is each for each in real)


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
    fakes |= {id(real): _of_later(name, seconds) for name, real in _OF_NOW.items()}
    with ExitStack() as stack:
        for name, real in {**_REAL, **_OF_NOW}.items():
            stack.enter_context(mock.patch.object(time, name, fakes[id(real)]))
        stack.enter_context(mock.patch.object(datetime, "datetime", fakes[id(_DATETIME)]))
        stack.enter_context(mock.patch.object(datetime, "date", fakes[id(_DATE)]))
        for bind in bindings:
            before = bind(None)
            bind(fakes.get(id(before), before))
            stack.callback(bind, before)
        yield


def _of_later(name: str, seconds: float) -> Callable[..., Any]:
    """Return a function of `time` whose time, if none is given, is ahead by `seconds`."""
    real = _OF_NOW[name]
    before = 1 if name == "strftime" else 0  # arguments before the time

    def fake(*args: Any) -> Any:
        if len(args) != before and not (len(args) > before and args[before] is None):
            return real(*args)
        now = _REAL["time"]() + seconds
        tuples = name in ("asctime", "strftime")
        return real(*args[:before], _OF_NOW["localtime"](now) if tuples else now)

    return fake


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
