"""How fast a loop goes through its images."""

import time


class Throughput:
    """Images per second since the last restart."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Count anew from now."""
        self._images, self._since = 0, time.monotonic()

    def add(self, images: int) -> None:
        """Count these images."""
        self._images += images

    @property
    def per_second(self) -> float:
        """Images counted since the restart, by the seconds since then."""
        return self._images / max(time.monotonic() - self._since, 1e-9)
