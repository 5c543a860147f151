"""The mean of a gradient over processes, and the sum of metrics: functions around functions."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from fnet import tree
from fnet.data import Batch
from fnet.metrics import Metrics
from fnet.nn import Params
from fnet.parallel.batch_norm import SyncBatchNorm
from fnet.parallel.collective import rank_and_size, sum_over_processes
from fnet.step import GradFn, Grads, Stats, take_rows
from fnet.tree import Tree


def mean_over_processes(grad_fn: GradFn, *, sync_batch_norm: bool = False) -> GradFn:
    """Return the gradient function that divides each batch among the processes of the group.

    As `lax.pmean` of a gradient. Every process passes the same global batch and computes its own
    rows (`own_rows`). The gradients are averaged, each process weighted by the sum of its
    `batch.weight`; the metrics are summed. So all processes return the same bits, and, without
    batch norm, those of one process up to rounding: each sample draws its randomness from its own
    index, wherever it is computed. Call it after `torch.distributed.init_process_group`; with no
    process group, or a group of one, it returns `grad_fn`.

        grad_fn = mean_over_processes(make_grad(model, loss, preprocess=normalize))
        step = compile(make_step(grad_fn, tx))

    Batch norm normalises with the statistics of the process's own rows, as if the batch size were
    smaller; the running statistics are averaged. (They are averaged in every step, in the same
    vector as the gradients. As they are exponential averages, that is what averaging before an
    evaluation gives.) With `sync_batch_norm` batch norm normalises with the statistics of the
    global batch, forward and backward, and the result is that of one process; it costs two
    collectives for each layer.

    All leaves of one dtype are one vector, so there is one collective for each dtype: float32
    gradients, and float64 metrics.

    Args:
        grad_fn: the gradient function, such as that of `make_grad` or `accumulate`. Its floating
            statistics are averaged; others are each process's own, so they must not depend on data.
        sync_batch_norm: synchronize the statistics of `functional.batch_norm` in training mode.

    Raises:
        ValueError: by the returned function, if there are fewer rows than processes, or with
            `sync_batch_norm` if the rows cannot be divided equally.
        RuntimeError: by the returned function, within `vmap`.
        PeerError: by the returned function, if another process has ended.
    """
    rank, size = rank_and_size()
    if size == 1:
        return grad_fn

    def mean(params: Params, batch: Batch) -> tuple[Grads, Stats, Metrics]:
        own = own_rows(batch, equal=sync_batch_norm)
        count = own.weight.sum()
        mode: AbstractContextManager[Any] = nullcontext()
        if sync_batch_norm:
            mode = SyncBatchNorm(count, rank, size)
        with mode:
            grads, stats, sums = grad_fn(params, own)
        # The change is averaged, not the value: what a step does not change keeps its bits.
        averaged = {name: x for name, x in stats.items() if x.is_floating_point()}
        changes = {name: _change(x, params.stats[name]) for name, x in averaged.items()}
        weighted = tree.map(lambda x: x * count.to(x.dtype), (grads, changes))
        weighted, sums, total = _sum_of_tree((weighted, sums, count.to(torch.float64)))
        # As in `make_grad`: not 0 if all rows are padding.
        total = total.clamp(min=torch.finfo(torch.float32).tiny)
        grads, changes = tree.map(lambda x: x / total.to(x.dtype), weighted)
        moved = {name: params.stats[name] + change for name, change in changes.items()}
        return grads, stats | moved, sums

    return mean


def total_over_processes(
    eval_step: Callable[[Params, Batch], Metrics],
) -> Callable[[Params, Batch], Metrics]:
    """Return the evaluation step that divides each batch among the processes of the group.

    Every process passes the same global batch, computes the metrics of its own rows, and gets the
    sums over all rows. With no process group, or a group of one, it returns `eval_step`.

    Raises:
        ValueError: by the returned function, if there are fewer rows than processes: pad the batch
            (`data.eval_batches` does) with rows of weight 0.
        PeerError: by the returned function, if another process has ended.
    """
    if rank_and_size()[1] == 1:
        return eval_step

    def total(params: Params, batch: Batch) -> Metrics:
        return _sum_of_tree(eval_step(params, own_rows(batch)))

    return total


def own_rows(batch: Batch, *, equal: bool = False) -> Batch:
    """Return the rows of a global batch that this process computes.

    The processes have equally many rows, or differ by one: each row belongs to exactly one.

    Raises:
        ValueError: there are fewer rows than processes; with `equal`, their number is not a
            multiple of the number of processes.
    """
    rank, size = rank_and_size()
    n = len(batch.labels)
    if n < size or (equal and n % size):
        why = "each needs the same number of rows to synchronize batch norm" if equal else ""
        raise ValueError(
            f"a batch of {n} cannot be divided among {size} processes"
            f"{': ' + why if n >= size else ''}: give a batch size that is a multiple of {size}"
        )
    return take_rows(batch, slice(n * rank // size, n * (rank + 1) // size))


def _change(new: Tensor, old: Tensor) -> Tensor:
    """Return new - old; 0 where they are equal, also for infinities, as in an attention mask."""
    return torch.where(new == old, 0.0, new - old)


def _sum_of_tree(sums: Tree) -> Tree:
    """Return a tree of sums over processes: one collective for each dtype."""
    vectors, unravel = tree.ravel(sums)
    totals = sum_over_processes(*vectors.values())
    return unravel(dict(zip(vectors, totals, strict=True)))
