"""The processes that train one model: their number, this one's rank, and what they agree on."""

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from fnet.parallel.collective import lost_peers

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of a run, which `torchrun` has started; without it, this process alone.

    All processes must call the same methods in the same order.

    Attributes:
        rank: the rank of this process; the first, 0, writes the files of the run and prints.
        size: the number of processes.
        local_rank: the rank of this process among those of its machine.
        local_size: the number of processes on its machine.
        restarts: how often `torchrun` has started the processes again, because one had died.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def first(self, work: Callable[[], T]) -> T:
        """Return the result of `work()` on the first process, pickled for the others.

        If it raises an exception, all processes raise it.

        Raises:
            PeerError: another process has ended.
        """
        if self.size == 1:
            return work()
        result = _caught(work) if self.is_first else (None, None)
        told: list[Any] = [result]
        with lost_peers():
            dist.broadcast_object_list(told, src=0)
        return _raised(result if self.is_first else told[0])

    def together(self, work: Callable[[], T]) -> T:
        """Return the result of `work()` on this process, or raise an exception of any process.

        If it raises an exception on some processes, all raise that of the first of these. So the
        first process, which prints, also knows what was wrong on another machine. `work` must not
        call a method of this class.

        Raises:
            PeerError: another process has ended.
        """
        if self.size == 1:
            return work()
        result, error = _caught(work)
        told: list[Any] = [None] * self.size
        with lost_peers():
            dist.all_gather_object(told, error)
        first = next((rank for rank, each in enumerate(told) if each is not None), self.rank)
        return _raised((result, error if first == self.rank else told[first]))

    def in_turn(self, work: Callable[[], T]) -> T:
        """As `together`, but on each machine the first process finishes before the others begin.

        For what fills a cache or downloads.
        """
        leads = self.local_rank == 0
        made = self.together(lambda: work() if leads else None)
        made = self.together(lambda: made if leads else work())
        return made  # type: ignore[return-value]  # each process has called `work` once

    def most(self, *numbers: int) -> list[int]:
        """Return the maximum over all processes of each number.

        Raises:
            PeerError: another process has ended.
        """
        if self.size == 1:
            return list(numbers)
        values = torch.tensor(numbers)  # on the CPU: it waits for no step on a GPU
        with lost_peers():
            dist.all_reduce(values, dist.ReduceOp.MAX)
        return values.tolist()

    def device(self, name: str) -> str:
        """Return the device of this process: with "auto" and "cuda", each has a GPU of its own."""
        if self.size == 1 or name not in ("auto", "cuda") or not torch.cuda.is_available():
            return name
        return f"cuda:{self.local_rank}"


def launched() -> World:
    """Return the processes that `torchrun` has started, from the environment.

    A single process, `--nproc-per-node 1`, needs no process group and computes as without torchrun.
    """
    if not dist.is_available() or not dist.is_torchelastic_launched():
        return World()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    return World(*(int(os.environ[name]) for name in names))


@contextmanager
def process_group() -> Iterator[World]:
    """Give the processes of `torchrun` as a group within the context; without it, this one alone.

    The collectives of tensors on the CPU are gloo's, those on GPUs NCCL's. Unlike plain
    `init_process_group`, it works in a group that torchrun has restarted: torch 2.14 keeps one
    store for all attempts, and would find the addresses of the processes that died.

    Raises:
        PeerError: another process has ended.
    """
    world = launched()
    if world.size == 1:
        yield world
        return
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
    with lost_peers():
        dist.init_process_group(
            backend,
            store=dist.PrefixStore(f"fnet/{world.restarts}", _store(world)),
            rank=world.rank,
            world_size=world.size,
        )
    try:
        yield world
    finally:
        dist.destroy_process_group()


def remember(name: str, value: str) -> None:
    """Store a value in the memory of torchrun, for `recall` after a restart of the processes.

    It ends with the command. Without torchrun, nothing is stored.
    """
    if _torchrun_keeps_store():
        _store(launched()).set(f"fnet/{name}", value)


def recall(name: str) -> str | None:
    """Return what was stored under a name, by this command's processes; None if nothing was."""
    if not _torchrun_keeps_store():
        return None
    store, key = _store(launched()), f"fnet/{name}"
    return store.get(key).decode() if store.check([key]) else None


def _torchrun_keeps_store() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _store(world: World) -> dist.Store:
    """Return the store that torchrun keeps, or else one that the first process keeps."""
    kept = _torchrun_keeps_store()
    return dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=world.is_first and not kept,
        wait_for_workers=False,
        multi_tenant=not kept,
    )


def _caught(work: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """Return the result, and the exception if there is one (or the exit of a command line)."""
    try:
        return work(), None
    except (Exception, SystemExit) as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


def _raised(result: tuple[Any, BaseException | None]) -> Any:
    """Return the result, or raise the exception."""
    if result[1] is not None:
        raise result[1]
    return result[0]
