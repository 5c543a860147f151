"""The training step and the evaluation step as pure functions, and the places to extend them.

`make_grad` returns a gradient function; to change how gradients are computed, wrap this function
(as `accumulate` does). `make_step` combines it with a gradient transformation into a step;
`fnet.compiler.compile` compiles the step into one graph.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.func import grad

from fnet import metrics, optim, random, tree
from fnet.data import Augment, Batch, Preprocess
from fnet.losses import Loss
from fnet.metrics import Metrics
from fnet.nn import Model, Params
from fnet.optim import GradientTransformation
from fnet.tree import Tree

Grads: TypeAlias = dict[str, Tensor]
Stats: TypeAlias = dict[str, Tensor]
GradFn: TypeAlias = Callable[[Params, Batch], tuple[Grads, Stats, Metrics]]
Step: TypeAlias = Callable[[Params, Tree, Batch], tuple[Params, Tree, Metrics]]
BatchLoss: TypeAlias = Callable[[Tensor, Batch], Tensor]
EvalStep: TypeAlias = Callable[[Params, Batch], Metrics]
StatisticsStep: TypeAlias = Callable[[Params, Batch], Stats]
# A named alias: Dynamo traces annotations in a compiled function, and cannot subscript a type.
_LossAndAux: TypeAlias = tuple[Tensor, tuple[Stats, Metrics]]


def make_grad(
    model: Model,
    loss: Loss | None = None,
    *,
    batch_loss: BatchLoss | None = None,
    preprocess: Preprocess,
    augment: Augment | None = None,
    dtype: torch.dtype = torch.float32,
) -> GradFn:
    """Return `grad_fn(params, batch) -> (grads, stats, metrics)` of the batch's mean loss.

    The mean is weighted by `batch.weight`. `grads` has the structure of `params.trainable`,
    `stats` has that of `params.stats`, and `metrics` are sums over the batch. The images are
    augmented, preprocessed and cast to `dtype`, which decides the precision of the forward and
    backward pass (`Model`); weights and gradients keep their own dtype. The random numbers of a
    sample come from `fold_in(batch.key, batch.index)`.

    Args:
        model: the network.
        loss: `(logits, labels) -> losses [N]`. Give exactly one of `loss` and `batch_loss`.
        batch_loss: `(logits, batch) -> losses [N]`, for a loss that needs more than labels, such as
            distillation, whose teacher needs `batch.images`. Its batch is the one that the network
            sees: augmented, with images preprocessed and cast to `dtype`, and with a key that
            nothing else draws from.
        preprocess: maps the images of the data set to the input of the network.
        augment: augmentation of the batch before `preprocess`, or None. If it changes the labels,
            the loss uses the changed ones.
        dtype: the dtype of the network's input.

    Raises:
        ValueError: both losses are given, or none; by the gradient function, if a loss does not
            return one number for each sample.
    """
    if (loss is None) == (batch_loss is None):
        raise ValueError(
            "make_grad takes exactly one of loss(logits, labels) and batch_loss(logits, batch); "
            f"got {'neither' if loss is None else 'both'}"
        )

    def losses_of(logits: Tensor, batch: Batch) -> Tensor:
        if batch_loss is not None:
            return batch_loss(logits, batch)
        return loss(logits, batch.labels)  # type: ignore[misc]  # one of them is given

    def grad_fn(params: Params, batch: Batch) -> tuple[Grads, Stats, Metrics]:
        # The first two keys do not depend on how many keys are split off.
        model_key, augment_key, *rest = random.split(batch.key, 2 if batch_loss is None else 3)
        keys = random.fold_in(model_key, batch.index)
        batch = _as_seen(batch, augment_key, preprocess, augment, dtype)
        seen = batch._replace(key=rest[0] if rest else batch.key)

        def mean_loss(trainable: Grads) -> _LossAndAux:
            logits, stats = model.apply(
                Params(trainable, params.stats), seen.images, key=keys, train=True
            )
            losses = losses_of(logits, seen)
            _require_one_each(losses, seen.weight)
            sums = metrics.from_logits(losses.detach(), logits.detach(), seen.labels, seen.weight)
            return (seen.weight * losses).sum() / _count(seen), (stats, sums)

        grads, (stats, sums) = grad(mean_loss, has_aux=True)(params.trainable)
        return grads, stats, sums

    return grad_fn


def accumulate(grad_fn: GradFn, m: int) -> GradFn:
    """Return the gradient function that computes a batch in `m` micro-batches.

    The gradient is the mean over the whole batch: each micro-batch counts by its summed weights.
    Running statistics are updated by one micro-batch after the other. Without batch norm the result
    is that of the whole batch, dropout and augmentation included, because each sample draws from
    its own key.

    Raises:
        ValueError: `m` is below 1; by the gradient function, if `m` does not divide the batch size.
    """
    if m < 1:
        raise ValueError(f"a batch is split into at least 1 micro-batch; got m={m}")

    def accumulated(params: Params, batch: Batch) -> tuple[Grads, Stats, Metrics]:
        size = len(batch.labels)
        if size % m:
            raise ValueError(
                f"a batch of {size} cannot be split into {m} equal micro-batches: choose a batch "
                f"size that is a multiple of {m}"
            )
        total = _count(batch)
        grads: Grads = {}
        sums: Metrics = {}
        stats = params.stats
        for start in range(0, size, size // m):
            part = take_rows(batch, slice(start, start + size // m))
            share = part.weight.sum() / total
            g, stats, s = grad_fn(params._replace(stats=stats), part)
            g = {name: share * leaf for name, leaf in g.items()}
            grads = {name: grads[name] + g[name] for name in g} if grads else g
            sums = metrics.add(sums, s) if sums else s
        return grads, stats, sums

    return accumulated


def make_step(grad_fn: GradFn, tx: GradientTransformation) -> Step:
    """Return the pure step `(params, opt_state, batch) -> (params, opt_state, metrics)`.

    `metrics` are sums over the batch (`fnet.metrics`); the trees keep structure, shapes, dtypes,
    devices and strides. `fnet.compiler.compile` keeps them too. A `torch.compile(step)` of your own
    may return other strides in dimensions of size 1, which address nothing (1 x 1 and depthwise
    weights in channels-last).
    """

    def step(params: Params, opt_state: Tree, batch: Batch) -> tuple[Params, Tree, Metrics]:
        grads, stats, sums = grad_fn(params, batch)
        updates, new_state = _updates(tx, grads, opt_state, params.trainable)
        trainable = optim.apply_updates(params.trainable, updates)
        stats = tree.map(tree.laid_out_like, stats, params.stats)
        return Params(trainable, stats), tree.map(_laid_out_like, new_state, opt_state), sums

    return step


def skip_nonfinite(step: Step) -> Step:
    """Return the step that skips an update which would produce numbers that are not finite.

    The update is skipped if the loss, a parameter, a running statistic, or a number of the
    optimizer's state that was finite before would become infinite or NaN. Then params and state
    stay unchanged and the metrics are sums over no samples. `optim.apply_if_finite` checks less: it
    does not see the running statistics.
    """

    def guarded(params: Params, opt_state: Tree, batch: Batch) -> tuple[Params, Tree, Metrics]:
        new_params, new_state, sums = step(params, opt_state, batch)
        fine = sums["loss"].isfinite()
        for leaf in tree.leaves(new_params):
            fine = fine & leaf.isfinite().all()
        for new, old in zip(tree.leaves(new_state), tree.leaves(opt_state), strict=True):
            fine = fine & (new.isfinite() | ~old.isfinite()).all()

        def choose(new: Tensor, old: Tensor) -> Tensor:
            return _laid_out_like(torch.where(fine, new, old), old)

        sums = {name: torch.where(fine, value, 0.0) for name, value in sums.items()}
        return tree.map(choose, new_params, params), tree.map(choose, new_state, opt_state), sums

    return guarded


def _updates(
    tx: GradientTransformation, grads: Grads, opt_state: Tree, trainable: Grads
) -> tuple[Grads, Tree]:
    """Return `tx.update(...)`; if it fails because the state is another optimizer's, say so."""
    try:
        return tx.update(grads, opt_state, trainable)
    except (KeyError, AttributeError, TypeError, ValueError, IndexError) as error:
        difference = _first_misfit(opt_state, tx.init(trainable))
        if difference is None:
            raise
        raise ValueError(
            f"opt_state does not belong to this optimizer and these parameters ({difference}): "
            "make it with tx.init(params.trainable), with the optimizer that make_step was given"
        ) from error


def _first_misfit(state: Tree, own: Tree) -> str | None:
    """Return how a state's structure or a leaf's shape differs from the optimizer's own."""

    def compare(path: str, leaf: Any, expected: Any) -> None:
        if isinstance(expected, Tensor) and leaf.shape != expected.shape:
            raise ValueError(f"{path!r}: shape {tuple(leaf.shape)}, not {tuple(expected.shape)}")

    try:
        tree.map_with_path(compare, state, own)
    except ValueError as error:
        return str(error)
    return None


def _laid_out_like(new: Any, old: Any) -> Any:
    return tree.laid_out_like(new, old) if isinstance(old, Tensor) else new


def make_eval(
    model: Model, loss: Loss, *, preprocess: Preprocess, dtype: torch.dtype = torch.float32
) -> EvalStep:
    """Return `eval_step(params, batch) -> metrics`: sums over the batch, in evaluation mode."""

    def eval_step(params: Params, batch: Batch) -> Metrics:
        logits, _ = model.apply(params, preprocess(batch.images).to(dtype))
        return metrics.from_logits(loss(logits, batch.labels), logits, batch.labels, batch.weight)

    return eval_step


def make_statistics(
    model: Model,
    *,
    preprocess: Preprocess,
    augment: Augment | None = None,
    dtype: torch.dtype = torch.float32,
) -> StatisticsStep:
    """Return `(params, batch) -> stats`: the forward pass in training mode, for its statistics.

    Used to recompute batch norm's statistics for fixed weights. Images and randomness are those of
    `make_grad`.
    """

    def forward(params: Params, batch: Batch) -> Stats:
        model_key, augment_key = random.split(batch.key, 2)
        keys = random.fold_in(model_key, batch.index)
        images = _as_seen(batch, augment_key, preprocess, augment, dtype).images
        return model.apply(params, images, key=keys, train=True)[1]

    return forward


def _as_seen(
    batch: Batch, key: Tensor, preprocess: Preprocess, augment: Augment | None, dtype: torch.dtype
) -> Batch:
    """Return the batch with the images that the network sees, augmented with this key."""
    if augment is not None:
        batch = augment(batch._replace(key=key))
    return batch._replace(images=preprocess(batch.images).to(dtype))


def _require_one_each(losses: Tensor, weight: Tensor) -> None:
    """Raise a ValueError unless there is one loss for each sample."""
    if losses.shape != weight.shape:
        raise ValueError(
            f"a loss returns one number for each sample, of shape {list(weight.shape)}, which the "
            f"step weights and averages; this one returned shape {list(losses.shape)}"
            + (': give it reduction="none"' if not losses.ndim else "")
        )


def _count(batch: Batch) -> Tensor:
    """Return the sum of the weights; a tiny number, not 0, if all rows are padding."""
    return batch.weight.sum().clamp(min=torch.finfo(torch.float32).tiny)


def take_rows(batch: Batch, rows: slice) -> Batch:
    """Return these rows of a batch, each with its own label, index and weight."""
    return batch._replace(
        images=batch.images[rows],
        labels=batch.labels[rows],
        index=batch.index[rows],
        weight=batch.weight[rows],
    )
