"""The training step and the evaluation step as pure functions, and the seams to change them.

`make_grad` makes a gradient function; whatever changes how a gradient is made wraps it.
`make_step` joins it to a gradient transformation; `compile` turns a step into one graph.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.func import grad

from fnet import metrics, optim, random, tree
from fnet.data import Augment, Batch, Preprocess
from fnet.jit import jit
from fnet.losses import Loss
from fnet.metrics import Metrics
from fnet.nn import Model, Params
from fnet.optim import GradientTransformation
from fnet.tree import Tree

Grads: TypeAlias = dict[str, Tensor]
Stats: TypeAlias = dict[str, Tensor]
GradFn: TypeAlias = Callable[[Params, Batch], tuple[Grads, Stats, Metrics]]
Step: TypeAlias = Callable[[Params, Tree, Batch], tuple[Params, Tree, Metrics]]
EvalStep: TypeAlias = Callable[[Params, Batch], Metrics]
# An annotation inside a compiled function is traced, and Dynamo cannot subscript a type.
_LossAndAux: TypeAlias = tuple[Tensor, tuple[Stats, Metrics]]
F = TypeVar("F", bound=Callable[..., Any])


def make_grad(
    model: Model,
    loss: Loss,
    *,
    preprocess: Preprocess,
    augment: Augment | None = None,
    dtype: torch.dtype = torch.float32,
) -> GradFn:
    """Return `grad_fn(params, batch) -> (grads, stats, metrics)` of the batch's mean loss.

    The mean is weighted by `batch.weight`; `grads` has the structure of `params.trainable`,
    `stats` that of `params.stats`, `metrics` are sums over the batch. The images are augmented,
    preprocessed and cast to `dtype`, which decides the precision of the forward and backward pass
    (`Model`); weights and gradients keep their own dtype. A sample's randomness comes from
    `fold_in(batch.key, batch.index)`.
    """

    def grad_fn(params: Params, batch: Batch) -> tuple[Grads, Stats, Metrics]:
        model_key, augment_key = random.split(batch.key)
        images = batch.images
        if augment is not None:
            images = augment(batch._replace(key=augment_key)).images
        images = preprocess(images).to(dtype)
        keys = random.fold_in(model_key, batch.index)

        def mean_loss(trainable: Grads) -> _LossAndAux:
            logits, stats = model.apply(
                Params(trainable, params.stats), images, key=keys, train=True
            )
            losses = loss(logits, batch.labels)
            sums = metrics.from_logits(losses.detach(), logits.detach(), batch.labels, batch.weight)
            return (batch.weight * losses).sum() / _count(batch), (stats, sums)

        grads, (stats, sums) = grad(mean_loss, has_aux=True)(params.trainable)
        return grads, stats, sums

    return grad_fn


def accumulate(grad_fn: GradFn, m: int) -> GradFn:
    """Return the gradient function that works through a batch in `m` micro-batches.

    The gradient is the mean over the whole batch, weighted by the true counts; statistics run
    through the micro-batches in order. Without batch norm the result is that of one batch, dropout
    and augmentation included, since each sample draws from its own key.

    Raises:
        ValueError: by the gradient function, where `m` does not divide the batch.
    """
    if m < 1:
        raise ValueError(f"a batch is cut into at least 1 micro-batch; got m={m}")

    def accumulated(params: Params, batch: Batch) -> tuple[Grads, Stats, Metrics]:
        size = len(batch.labels)
        if size % m:
            raise ValueError(
                f"a batch of {size} cannot be cut into {m} equal micro-batches: choose a batch "
                f"size that is a multiple of {m}"
            )
        total = _count(batch)
        grads: Grads = {}
        sums: Metrics = {}
        stats = params.stats
        for start in range(0, size, size // m):
            part = _rows(batch, slice(start, start + size // m))
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
    devices and strides.
    """

    def step(params: Params, opt_state: Tree, batch: Batch) -> tuple[Params, Tree, Metrics]:
        grads, stats, sums = grad_fn(params, batch)
        updates, new_state = _updates(tx, grads, opt_state, params.trainable)
        trainable = optim.apply_updates(params.trainable, updates)
        stats = tree.map(tree.laid_out_like, stats, params.stats)
        return Params(trainable, stats), tree.map(_laid_out_like, new_state, opt_state), sums

    return step


def skip_nonfinite(step: Step) -> Step:
    """Return the step that changes nothing where `step` leads to numbers that are not finite.

    Where the loss, a parameter, or what was finite in the state would not be, params and state
    stay what they were and the metrics are sums over no samples. `optim.apply_if_finite` cannot do
    as much: it does not see the statistics.
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
    """Return what the optimizer makes of the gradients, or say that the state is not its own."""
    try:
        return tx.update(grads, opt_state, trainable)
    except (KeyError, AttributeError, TypeError, ValueError, IndexError) as error:
        difference = _first_misfit(opt_state, tx.init(trainable))
        if difference is None:
            raise
        raise ValueError(
            f"opt_state is not this optimizer's for these parameters ({difference}): make it with "
            "tx.init(params.trainable), with the optimizer that make_step was given"
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


def compile(fn: F, *, donate: bool = False, cpp_wrapper: bool = False) -> F:
    """Return `fn` (a step, an evaluation step, any pure function of tensors) as one compiled graph.

    The signature stays. As `jax.jit`: `fn` is run on tensors without data, once at the first call
    and once for each new structure, shape or dtype of its arguments, and what it computes of them
    is the graph; a new value never compiles again. The values of tensors that `fn` closes over are
    read at each call; what else it closes over is taken to stay what it is.
    Compile outermost: `compile(vmap(step))`, not the other way round, which is an error; gradients
    are taken inside of `fn`, autograd does not go through the result. Needs a C++ compiler on the
    CPU (`fnet.environment.missing_compiler` tells).

    Args:
        fn: what to compile.
        donate: of a step only: the caller gives up `params` and `opt_state`, and gets the same
            tensors back with the new values in them. There is then one copy of the state in
            memory instead of two. As `jax.jit(donate_argnums=(0, 1))`.
        cpp_wrapper: have C++ call the kernels, not Python. Steps of a few milliseconds get quicker,
            compiling takes longer. As Inductor's option of this name.
    """
    if not donate:
        return jit(fn, cpp_wrapper=cpp_wrapper)  # type: ignore[return-value]

    def update(params: Params, opt_state: Tree, batch: Batch) -> Metrics:
        new_params, new_state, sums = fn(params, opt_state, batch)
        tree.map(torch.Tensor.copy_, params, new_params)
        tree.map(torch.Tensor.copy_, opt_state, new_state)
        return sums

    compiled = jit(update, cpp_wrapper=cpp_wrapper)

    def step(params: Params, opt_state: Tree, batch: Batch) -> tuple[Params, Tree, Metrics]:
        return params, opt_state, compiled(params, opt_state, batch)

    return step  # type: ignore[return-value]


def _count(batch: Batch) -> Tensor:
    """Return the sum of the weights, above 0 where a (micro-)batch is nothing but padding."""
    return batch.weight.sum().clamp(min=torch.finfo(torch.float32).tiny)


def _rows(batch: Batch, rows: slice) -> Batch:
    return batch._replace(
        images=batch.images[rows],
        labels=batch.labels[rows],
        index=batch.index[rows],
        weight=batch.weight[rows],
    )
