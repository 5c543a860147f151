"""Steps strung together: `scan` over batches, `fit` over epochs, `evaluate` over a data set."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fnet import metrics
from fnet.data import Batch, Dataset, batches, eval_batches, steps_per_epoch
from fnet.metrics import Metrics
from fnet.nn import Params
from fnet.step import EvalStep, Step
from fnet.tree import Tree


class Record(NamedTuple):
    """Where a run is after a step.

    Attributes:
        step: steps done so far, over all epochs.
        epoch: the epoch that this step belongs to, counted from 0.
        epoch_done: whether it was the epoch's last step.
        params: the parameters after the step.
        opt_state: the optimizer's state after the step.
        metrics: sums over the epoch's steps so far, on the device: `fnet.metrics.means` waits for
            it. In an epoch that `fit` began in the middle, since then, added to its `sums`.
    """

    step: int
    epoch: int
    epoch_done: bool
    params: Params
    opt_state: Tree
    metrics: Metrics


def scan(
    step: Step, carry: tuple[Params, Tree], batches: Iterable[Batch]
) -> tuple[tuple[Params, Tree], Metrics]:
    """Run the step over the batches; return the last carry and the stacked metrics `[steps]`.

    The shape of `jax.lax.scan`; the carry is `(params, opt_state)`.

    Raises:
        ValueError: there is no batch.
    """
    params, opt_state = carry
    collected = []
    for batch in batches:
        params, opt_state, sums = step(params, opt_state, batch)
        collected.append(sums)
    if not collected:
        raise ValueError("scan needs at least one batch")
    stacked = {name: torch.stack([sums[name] for sums in collected]) for name in collected[0]}
    return (params, opt_state), stacked


def fit(
    step: Step,
    params: Params,
    opt_state: Tree,
    key: Tensor,
    dataset: Dataset,
    *,
    size: int,
    epochs: int,
    start: int = 0,
    sums: Metrics | None = None,
) -> Iterator[Record]:
    """Return the records of a training run, one a step: the caller logs, evaluates, saves, stops.

    Step n trains on `batch_at(key, dataset, size, n)`, so a run that was stopped goes on from the
    params and the state of its last record with `start=record.step`, and where that was in the
    middle of an epoch `sums=record.metrics`.

    Raises:
        ValueError: the batch size does not fit the data set, or the start is below 0.
    """
    steps = steps_per_epoch(len(dataset), size)
    stream = enumerate(batches(key, dataset, size, epochs, start), start + 1)
    return _records(step, params, opt_state, stream, steps, sums)


def _records(
    step: Step,
    params: Params,
    opt_state: Tree,
    stream: Iterator[tuple[int, Batch]],
    steps: int,
    sums: Metrics | None,
) -> Iterator[Record]:
    # A function of its own, not one inside `fit`, which would hold the first state to the end.
    for done, batch in stream:
        params, opt_state, new = step(params, opt_state, batch)
        sums = metrics.add(sums, new) if sums else new
        epoch_done = done % steps == 0
        yield Record(done, (done - 1) // steps, epoch_done, params, opt_state, sums)
        if epoch_done:
            sums = None


def evaluate(eval_step: EvalStep, params: Params, dataset: Dataset, *, size: int) -> Metrics:
    """Return the summed metrics of the whole data set, each image counted once.

    Batches have one shape: the last is padded with rows of weight 0.
    """
    total: Metrics = {}
    for batch in eval_batches(dataset, size):
        sums = eval_step(params, batch)
        total = metrics.add(total, sums) if total else sums
    return total
