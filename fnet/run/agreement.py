"""What the processes of a run decide together between two steps: to stop, to save."""

import time

from fnet.parallel import World
from fnet.run.signals import StopRequest

_SECONDS = 0.25  # between two questions; a signal reaches one process and stops all after this


class Agreement:
    """Makes all processes stop and save after the same step.

    Otherwise one would wait for the others forever in the next collective. A question costs up to a
    millisecond, so it is not asked after every step, but a few times a second.

    Args:
        world: the processes.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked, self._next, self._at = 0, 0, time.monotonic()

    def __call__(
        self, step: int, stop: StopRequest, due: bool = False, *, now: bool = False
    ) -> tuple[bool, bool]:
        """Return whether to stop after this step, and whether to save a checkpoint.

        Args:
            step: the number of the step, the same on all processes.
            stop: this process's request; a request to any process is one to all.
            due: whether a checkpoint is due on this process.
            now: ask in any case.
        """
        if self._world.size == 1:
            return bool(stop), due
        if step < self._next and not now:
            return False, False
        seconds = max(time.monotonic() - self._at, 1e-6)
        every = max(1, int((step - self._asked) * _SECONDS / seconds))
        signal, saves, every = self._world.most(stop.signal or 0, int(due), every)
        self._asked, self._next, self._at = step, step + every, time.monotonic()
        if signal and stop.signal is None:
            stop.signal = signal
        return bool(signal), bool(saves)
