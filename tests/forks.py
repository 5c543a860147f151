"""Process groups of forks, as `torchrun` starts them, without its seconds for each start.

To be used by a program that has not yet used PyTorch's threads: a fork would wait for them forever.
"""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess

import torch.distributed as dist

_FORK = multiprocessing.get_context("fork")


class Launcher:
    """A store, as the agent of `torchrun` keeps it, and the groups that use it, one at a time."""

    def __init__(self, size: int) -> None:
        self.size, self.starts = size, 0
        self._store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)

    def start(self, work: Callable[[], object]) -> list[BaseProcess]:
        """Start `work` in each process of a new group; its result, if any, is the exit code."""
        processes = [
            _FORK.Process(target=self._run, args=(rank, work)) for rank in range(self.size)
        ]
        for process in processes:
            process.start()
        self.starts += 1
        return processes

    def run(self, work: Callable[[], object]) -> list[int | None]:
        """Run `work` in each process of a new group, and return their exit codes."""
        return wait(self.start(work))

    def _run(self, rank: int, work: Callable[[], object]) -> None:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_WORLD_SIZE": str(self.size),
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(self._store.port),
            "TORCHELASTIC_RUN_ID": "forks",
            "TORCHELASTIC_RESTART_COUNT": str(self.starts),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        try:
            code = work()
        except BaseException:
            traceback.print_exc()
            code = 3
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


def wait(processes: Sequence[BaseProcess], seconds: float = 120) -> list[int | None]:
    """Return the exit codes of processes; those that take too long are killed."""
    for process in processes:
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in processes]
