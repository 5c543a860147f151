"""Ensembles: K models of one structure, trained by one step.

The trees of K models (parameters, optimizer state, metrics) are stacked: each leaf has a leading
dimension `[K]`. `train_many` turns the step of one model into that of K models, so `fit`, `scan`
and checkpoints work as for one:

    params = ensemble.init(model, random.split(random.key(0), 4))
    opt_state = ensemble.init_opt(tx, params)
    opt_state = set_hyper(opt_state, "learning_rate", torch.tensor([1e-3, 3e-3, 1e-2, 3e-2]))
    step = ensemble.train_many(make_step(grad_fn, tx))
    for record in fit(step, params, opt_state, key, dataset, size=128, epochs=3):
        print(ensemble.means(record.metrics))

The models may differ in any tensor of the state: seed, learning rate, weight decay, momentum. What
differs in structure (the network, the batch size, a schedule) needs a loop outside.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import vmap

from fnet import compiler, data, metrics, tree
from fnet.data import Batch, Dataset
from fnet.metrics import Metrics
from fnet.nn import Model, Params
from fnet.optim import GradientTransformation
from fnet.step import Step
from fnet.tree import Tree
from fnet.tree.ravel import memory_order

Strategy = Literal["vmap", "loop", "auto"]

_ROUNDS = 3
"""Timed steps of each strategy. The fastest counts: other load only makes a step slower."""


def stack(trees: Sequence[Tree]) -> Tree:
    """Return the trees of K models as one, each leaf `[K, ...]`; `members` undoes it.

    Within the stacked leaf, each member keeps its memory order, such as channels-last.

    Raises:
        ValueError: there is no tree, or the structures or shapes differ.

    >>> stack([{"w": torch.tensor(1.0)}, {"w": torch.tensor(2.0)}])
    {'w': tensor([1., 2.])}
    """
    if not trees:
        raise ValueError("there is nothing to stack: give the tree of at least one model")
    return tree.map(lambda *leaves: _stack(leaves), *trees)


def size(stacked: Tree) -> int:
    """Return K, the number of models in a stacked tree.

    Raises:
        ValueError: the tree has no leaf, or two leaves have different leading dimensions.

    >>> size({"w": torch.zeros(3, 2)})
    3
    """
    counts = {path: leaf.shape[:1] for path, leaf in tree.flatten_with_path(stacked)}
    first = next(iter(counts), None)
    if first is None:
        raise ValueError("a tree without leaves is not that of several models")
    for path, count in counts.items():
        if not count or count != counts[first]:
            raise ValueError(
                f"every leaf of the tree of K models has the shape [K, ...], but {first!r} begins "
                f"with {list(counts[first])} and {path!r} with {list(count)}: make the tree with "
                "ensemble.stack, ensemble.init or ensemble.init_opt"
            )
    return counts[first][0]


def member(stacked: Tree, i: int) -> Tree:
    """Return the tree of one model, as views of the stacked tree.

    Raises:
        IndexError: there is no such model.

    >>> member({"w": torch.tensor([1.0, 2.0])}, 1)
    {'w': tensor(2.)}
    """
    return tree.map(lambda leaf: leaf[i], stacked)


def members(stacked: Tree) -> list[Tree]:
    """Return the trees of all models, as views of the stacked tree; `stack` undoes it."""
    return [member(stacked, i) for i in range(size(stacked))]


def init(model: Model, keys: Tensor | Sequence[Tensor]) -> Params:
    """Return the stacked parameters of one model for each key; `keys` is int64 `[K, 2]`.

    Member i is bit for bit `model.init(keys[i])`.
    """
    return stack([model.init(key) for key in keys])


def init_opt(tx: GradientTransformation, params: Params) -> Tree:
    """Return the stacked optimizer state for stacked parameters.

    `fnet.optim.set_hyper` gives each model a value of its own, from a tensor `[K]`.
    """
    return stack([tx.init(one) for one in members(params.trainable)])


def batches(
    keys: Tensor | Sequence[Tensor], dataset: Dataset, size: int, epochs: int = 1, start: int = 0
) -> Iterator[Batch]:
    """Return an iterator over stacked batches: member i's are `data.batches(keys[i], ...)`.

    With these, each model sees the data in the order in which it would see them alone.

    Raises:
        ValueError: as for `data.batches`.
    """
    streams = [data.batches(key, dataset, size, epochs, start) for key in keys]
    return map(stack, zip(*streams, strict=True))


def means(sums: Metrics) -> list[dict[str, float]]:
    """Return `metrics.means` of each model, from stacked sums.

    >>> means({"loss": torch.tensor([1.0, 4.0]), "count": torch.tensor([2.0, 2.0])})
    [{'loss': 0.5}, {'loss': 2.0}]
    """
    return [metrics.means(own) for own in members(sums)]


class ManyStep:
    """The step of K models, made by `train_many`; its signature is that of any step.

    Attributes:
        seconds: what the measurement of "auto" found, the seconds of a step by strategy.
    """

    def __init__(self, strategies: dict[str, Step]) -> None:
        self._strategies = strategies
        self.seconds: dict[str, float] = {}

    @property
    def strategy(self) -> str | None:
        """The strategy in use; with "auto", None before the first step."""
        return next(iter(self._strategies)) if len(self._strategies) == 1 else None

    def __call__(self, params: Params, opt_state: Tree, batch: Batch) -> tuple[Any, Tree, Metrics]:
        """Return the stacked results of a step of every model."""
        size((params, opt_state))  # names the leaf that does not belong
        if len(self._strategies) > 1:
            self.seconds = _measure(self._strategies, params, opt_state, batch)
            fastest = min(self.seconds, key=self.seconds.__getitem__)
            self._strategies = {fastest: self._strategies[fastest]}
        (step,) = self._strategies.values()
        return step(params, opt_state, batch)


def train_many(
    step: Step,
    *,
    strategy: Strategy = "auto",
    compile: Callable[[Step], Step] = compiler.compile,
) -> ManyStep:
    """Return the step of K models, `(params, opt_state, batch) -> (params, opt_state, metrics)`.

    All trees are stacked, and keep their structure and strides. The batch is shared by all models,
    except for those of its fields that have a leading dimension `[K]`: give a stacked batch
    (`batches`) or a stacked key alone (`batch._replace(key=random.split(batch.key, K))`), which
    gives each model its own augmentation and dropout on shared images.

    Args:
        step: the step of one model, not compiled.
        strategy: "vmap": one compiled `vmap(step)`. Each model is the model trained alone within
            rounding, except for leaves whose gradient is only rounding error, such as a bias before
            batch norm: Adam scales it to full steps. What the model computes does not depend on
            them. "loop": one compiled step, called for each model. Each is the model trained
            alone bit for bit; memory for activations is that of one model. "auto": the first call
            compiles both, takes `_ROUNDS` timed steps of each, and keeps the faster one. Whether it
            rounds as "loop" or as "vmap" then depends on the machine: for a result that repeats
            bit for bit, name the strategy. Where `step` has no `vmap`, "auto" is "loop".
        compile: applied to `vmap(step)` and to `step`; `lambda step: step` runs them eagerly.

    `vmap` turns convolutions into grouped ones, which fnet's kernels for CPUs do not cover.

    Raises:
        ValueError: there is no such strategy; by the step, if the trees are not those of K models.
    """
    strategies: dict[str, Callable[[], Step]] = {
        "vmap": lambda: compile(_mapped(step)),
        "loop": lambda: _looped(compile(step)),
    }
    if strategy != "auto" and strategy not in strategies:
        raise ValueError(f'strategy is "vmap", "loop" or "auto"; got "{strategy}"')
    chosen = strategies if strategy == "auto" else {strategy: strategies[strategy]}
    return ManyStep({name: make() for name, make in chosen.items()})


def _mapped(step: Step) -> Step:
    def mapped(params: Params, opt_state: Tree, batch: Batch) -> tuple[Params, Tree, Metrics]:
        own = _is_own(batch, size(params))
        places = Batch._make(0 if stacked else None for stacked in own)
        new, state, sums = vmap(step, in_dims=(0, 0, places))(params, opt_state, batch)
        # vmap puts the leading dimension where the last operation had it.
        return (
            tree.map(tree.laid_out_like, new, params),
            tree.map(tree.laid_out_like, state, opt_state),
            sums,
        )

    return mapped


def _looped(step: Step) -> Step:
    def looped(params: Params, opt_state: Tree, batch: Batch) -> tuple[Params, Tree, Metrics]:
        count = size(params)
        own = _is_own(batch, count)
        results = []
        for i in range(count):
            # Copies: the bits of a matrix product can depend on the alignment of its operands, and
            # a view of a stacked leaf begins anywhere.
            p, s = tree.map(torch.clone, member((params, opt_state), i))
            rows = Batch._make(f[i].clone() if o else f for f, o in zip(batch, own, strict=True))
            results.append(step(p, s, rows))
        new, state, sums = stack(results)
        return (
            tree.map(tree.laid_out_like, new, params),
            tree.map(tree.laid_out_like, state, opt_state),
            sums,
        )

    return looped


def _is_own(batch: Batch, count: int) -> list[bool]:
    """Return for each field of the batch whether it is stacked: one for each of `count` models."""
    labels = 2 if batch.labels.is_floating_point() else 1
    ranks = {"images": 4, "labels": labels, "key": 1, "index": 1, "weight": 1, "epoch": 0}
    own = [field.ndim > ranks[name] for name, field in zip(Batch._fields, batch, strict=True)]
    for name, field, stacked in zip(Batch._fields, batch, own, strict=True):
        if stacked and len(field) != count:
            raise ValueError(
                f"batch.{name} has shape {list(field.shape)}: with a leading dimension of {count}, "
                "it is one for each model; without, all models share it"
            )
    return own


def _measure(
    strategies: dict[str, Step], params: Params, opt_state: Tree, batch: Batch
) -> dict[str, float]:
    """Return the seconds of a step by strategy: the fastest of some, after the first call."""
    device = tree.leaves(params)[0].device

    def run(step: Step) -> float:
        begin = time.perf_counter()
        step(params, opt_state, batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begin

    usable = {}
    for name, step in strategies.items():
        try:
            run(step)
        except (RuntimeError, ValueError, TypeError):
            if name == "loop":  # the step's own error
                raise
            continue
        usable[name] = step
    rounds = [{name: run(step) for name, step in usable.items()} for _ in range(_ROUNDS)]
    return {name: min(taken[name] for taken in rounds) for name in usable}


def _stack(leaves: Sequence[Tensor]) -> Tensor:
    order = memory_order(leaves[0])
    back = [0, *(order.index(dim) + 1 for dim in range(len(order)))]
    try:
        stacked = torch.stack([leaf.permute(order) for leaf in leaves])
    except RuntimeError as error:
        shapes = ", ".join(str(list(leaf.shape)) for leaf in leaves)
        raise ValueError(f"only leaves of one shape can be stacked; got {shapes}") from error
    return stacked.permute(back)
