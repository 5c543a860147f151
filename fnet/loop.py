"""Loops over steps: `scan`, `fit` (a stream of steps with epoch counts), `evaluate`."""

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import NamedTuple, overload

import torch
from torch import Tensor

from fnet import metrics
from fnet.data import Batch, Dataset, batches, eval_batches, steps_per_epoch
from fnet.metrics import Metrics
from fnet.nn import Params
from fnet.step import EvalStep, Step
from fnet.tree import Tree

_USAGE = (
    "with a data set, call fit(step, params, opt_state, key, dataset, size=..., epochs=...); the "
    "images and labels of a loader become a Batch by data.as_batch(images, labels, key, step)"
)


class Record(NamedTuple):
    """The state of a run after a step.

    Attributes:
        step: steps done so far, over all epochs.
        epoch: the epoch that this step belongs to, counted from 0.
        epoch_done: whether this was the last step of the epoch.
        params: the parameters after the step.
        opt_state: the optimizer's state after the step.
        metrics: sums over the steps of the epoch so far, on the device: `fnet.metrics.means` waits
            for the device. If `fit` started in the middle of an epoch, its `sums` are included.
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
        ValueError: `batches` is empty.
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


@overload
def fit(
    step: Step,
    params: Params,
    opt_state: Tree,
    batches: Iterable[Batch],
    *,
    steps_per_epoch: int | None = None,
    start: int = 0,
    sums: Metrics | None = None,
) -> Iterator[Record]: ...


@overload
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
) -> Iterator[Record]: ...


def fit(  # type: ignore[misc]  # the fourth argument has another name in each overload
    step: Step,
    params: Params,
    opt_state: Tree,
    batches_or_key: Iterable[Batch] | Tensor | None = None,
    dataset: Dataset | None = None,
    *,
    batches: Iterable[Batch] | None = None,
    key: Tensor | None = None,
    steps_per_epoch: int | None = None,
    size: int | None = None,
    epochs: int | None = None,
    start: int = 0,
    sums: Metrics | None = None,
) -> Iterator[Record]:
    """Return the records of a training run, one per step: the caller logs, evaluates, saves, stops.

    `fit(step, params, opt_state, batches)` takes any iterable of `Batch`. It iterates over them
    once, and fetches no batch before the step that needs it. With a DataLoader of your own:

        def stream():
            for epoch in range(epochs):
                for n, (images, labels) in enumerate(loader, epoch * len(loader)):
                    yield data.as_batch(images, labels, key, n, steps_per_epoch=len(loader))

        for record in fit(step, params, opt_state, stream(), steps_per_epoch=len(loader)):
            ...

    `fit(step, params, opt_state, key, dataset, size=128, epochs=10)` trains on a data set in
    memory: step n on `batch_at(key, dataset, size, n)`.

    To resume a stopped run, pass the params and the state of its last record and
    `start=record.step`; if the run stopped in the middle of an epoch, pass `sums=record.metrics`
    too. Your own `batches` must then begin with the next step's batch.

    Args:
        step: the training step.
        params: the initial parameters.
        opt_state: the optimizer's initial state.
        batches_or_key: the batches, or the key if there is a data set; each may be given by its
            own name too.
        dataset: images and labels in memory.
        batches: the batches of the steps, any iterable.
        key: int64 `[2]`, for the data of the whole run.
        steps_per_epoch: with batches only, the length of an epoch. The default is the number of
            batches if they have a length, as a list has; otherwise all steps belong to one epoch
            that never ends.
        size: with a data set only, the batch size; required.
        epochs: with a data set only, the number of epochs, counted from step 0; required.
        start: the number of steps done before.
        sums: the metrics of those of them that belong to the current epoch.

    Raises:
        ValueError: the batch size does not fit the data set, an epoch has no steps, or `start` is
            negative.
        TypeError: an argument is missing or does not belong, or an item of `batches` is not a
            `Batch`.
    """
    if isinstance(batches_or_key, Dataset) or isinstance(batches, Dataset):
        raise TypeError(f"fit got a data set where its batches belong: {_USAGE}")
    of_dataset = key is not None or dataset is not None or isinstance(batches_or_key, Tensor)
    records: Callable[..., Iterator[Record]] = _fit_dataset if of_dataset else _fit_batches
    source = () if batches_or_key is None else (batches_or_key,)
    options = {
        "batches": batches,
        "key": key,
        "dataset": dataset,
        "steps_per_epoch": steps_per_epoch,
        "size": size,
        "epochs": epochs,
    }
    # Only what is given, so that Python reports an argument that is missing or does not belong.
    given = {name: value for name, value in options.items() if value is not None}
    return records(step, params, opt_state, *source, **given, start=start, sums=sums)


def _fit_batches(
    step: Step,
    params: Params,
    opt_state: Tree,
    batches: Iterable[Batch],
    *,
    steps_per_epoch: int | None = None,
    start: int = 0,
    sums: Metrics | None = None,
) -> Iterator[Record]:
    if start < 0:
        raise ValueError(f"steps are counted from 0, got start={start}")
    if steps_per_epoch is None and isinstance(batches, Sized):
        steps_per_epoch = start + len(batches)
    elif steps_per_epoch is not None and steps_per_epoch < 1:
        raise ValueError(f"an epoch has at least 1 step, got steps_per_epoch={steps_per_epoch}")
    stream = enumerate(batches, start + 1)
    return _records(step, params, opt_state, stream, steps_per_epoch, sums)


def _fit_dataset(
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
    steps = steps_per_epoch(len(dataset), size)
    stream = enumerate(batches(key, dataset, size, epochs, start), start + 1)
    return _records(step, params, opt_state, stream, steps, sums)


def _records(
    step: Step,
    params: Params,
    opt_state: Tree,
    stream: Iterator[tuple[int, Batch]],
    steps: int | None,
    sums: Metrics | None,
) -> Iterator[Record]:
    # Not a closure inside `fit`: that would hold a reference to the first state until the end.
    for done, batch in stream:
        if isinstance(batch, Tensor) or type(batch) in (tuple, list, dict):
            raise TypeError(
                f"fit needs items of type Batch, got a {type(batch).__name__}: {_USAGE}"
            )
        params, opt_state, new = step(params, opt_state, batch)
        sums = metrics.add(sums, new) if sums else new
        epoch_done = steps is not None and done % steps == 0
        epoch = 0 if steps is None else (done - 1) // steps
        yield Record(done, epoch, epoch_done, params, opt_state, sums)
        if epoch_done:
            sums = None


def evaluate(eval_step: EvalStep, params: Params, dataset: Dataset, *, size: int) -> Metrics:
    """Return the summed metrics of the whole data set, each image counted once.

    All batches have the same shape: the last one is padded with rows of weight 0.
    """
    total: Metrics = {}
    for batch in eval_batches(dataset, size):
        sums = eval_step(params, batch)
        total = metrics.add(total, sums) if total else sums
    return total
