"""The processes that train one model: their number, this one's rank, and what they agree on."""

import os
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

    def first(self, work: Callable[[], T], errors: tuple[type[BaseException], ...] = ()) -> T:
        """Return the result of `work()` on the first process; pickled for the others.

        If it raises one of `errors`, all processes raise it.

        Raises:
            PeerError: another process has ended.
        """
        if self.size == 1:
            return work()
        result = _caught(work, errors) if self.is_first else (None, None)
        told: list[Any] = [result]
        with lost_peers():
            dist.broadcast_object_list(told, src=0)
        return _raised(told[0] if not self.is_first else result)

    def together(self, work: Callable[[], T], errors: tuple[type[BaseException], ...]) -> T:
        """Return the result of `work()` on this process, or raise an error of any process.

        If it raises one of `errors` on some processes, all raise that of the first of these. So
        the first process, which prints, also knows what was wrong on another machine.

        Raises:
            PeerError: another process has ended.
        """
        if self.size == 1:
            return work()
        result = _caught(work, errors)
        told: list[Any] = [None] * self.size
        with lost_peers():
            dist.all_gather_object(told, result[1])
        error = next((each for each in told if each is not None), None)
        return _raised((result[0], error))

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
    `init_process_group`, it works in a group that torchrun has restarted: torch 2.14 keeps one store
    for all attempts, and would find the addresses of the processes that died.

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


def remembered(name: str, value: str | None = None) -> str | None:
    """Return what this process, the first one, or one before a restart, has stored under a name.

    It is in the memory of torchrun, so it ends with the command. None if nothing was stored, or if
    torchrun keeps no store.

    Args:
        name: what it is.
        value: if given, it is stored.
    """
    world = launched()
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return value
    store, key = _store(world), f"fnet/{name}"
    if value is not None:
        store.set(key, value)
    return store.get(key).decode() if store.check([key]) else None


def _store(world: World) -> dist.Store:
    """Return the store that torchrun keeps, or else one that the first process keeps."""
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=world.is_first and not kept,
        wait_for_workers=False,
        multi_tenant=not kept,
    )


def _caught(work: Callable[[], T], errors: tuple[type[BaseException], ...]) -> tuple[Any, Any]:
    """Return the result, or one of these errors."""
    try:
        return work(), None
    except errors as error:
        return None, error


def _raised(result: tuple[Any, BaseException | None]) -> Any:
    if result[1] is not None:
        raise result[1]
    return result[0]
