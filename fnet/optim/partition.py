"""The combination of different transformations for different parts of the tree."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from torch import Tensor

from fnet import tree
from fnet.optim.base import GradientTransformation, State, identity, set_to_zero
from fnet.tree import Tree

LabelFn: TypeAlias = Callable[[str, Tensor], str]


class PartitionState(NamedTuple):
    """The state of each label's transformation, by label."""

    states: dict[str, State]


def partition(
    transforms: Mapping[str, GradientTransformation], label_fn: LabelFn
) -> GradientTransformation:
    """Return the transformation that applies to each leaf the one of `transforms` with its label.

    As `optax.partition`, but labels come from a function of one leaf, not from a tree of labels. It
    depends on paths and shapes: do not use it on a raveled tree.

    Args:
        transforms: label -> transformation of the leaves with this label. The transformation gets
            its leaves as a dict by path, without a None for the leaves of other labels, because
            `torch.func.vmap` cannot return None.
        label_fn: `(path, leaf of the params) -> label`, a function of path, shape and dtype alone.

    Raises:
        ValueError: by `init` and `update`, for a label with no transformation.

    >>> from fnet import optim
    >>> tx = optim.partition(
    ...     {"decay": optim.adamw(1e-3), "no_decay": optim.adamw(1e-3, weight_decay=0.0)},
    ...     lambda path, leaf: "decay" if leaf.ndim > 1 else "no_decay",
    ... )

    Then `get_hyper(state, "decay/weight_decay")` is 0.01.
    """

    def group(params: Tree, values: Tree) -> dict[str, dict[str, Tensor]]:
        """Return the leaves of `values` by label and path."""
        groups: dict[str, dict[str, Tensor]] = {label: {} for label in transforms}

        def place(path: str, param: Tensor, value: Tensor) -> None:
            label = label_fn(path, param)
            if label not in groups:
                raise ValueError(
                    f"label_fn gives {path!r} the label {label!r}, which has no transformation; "
                    f"the labels are {', '.join(map(repr, transforms))}"
                )
            groups[label][path] = value

        tree.map_with_path(place, params, values)
        return groups

    def init(params: Tree) -> PartitionState:
        groups = group(params, params)
        return PartitionState({label: tx.init(groups[label]) for label, tx in transforms.items()})

    def update(grads: Tree, state: PartitionState, params: Tree) -> tuple[Tree, PartitionState]:
        grad_groups, param_groups = group(params, grads), group(params, params)
        updates: dict[str, Tensor] = {}
        states = {}
        for label, tx in transforms.items():
            own, states[label] = tx.update(
                grad_groups[label], state.states[label], param_groups[label]
            )
            updates.update(own)
        return tree.map_with_path(lambda path, grad: updates[path], grads), PartitionState(states)

    return GradientTransformation(init, update)


def freeze(predicate: Callable[[str, Tensor], bool]) -> GradientTransformation:
    """Return the transformation that sets the updates of the leaves that `predicate` selects to 0.

    If it is last in a chain, these params stay unchanged, also by weight decay. As `optax.freeze`.

    >>> from fnet import optim
    >>> tx = optim.chain(optim.sgd(0.1), freeze(lambda path, leaf: path.startswith("conv1.")))
    """
    return partition(
        {"frozen": set_to_zero(), "trained": identity()},
        lambda path, leaf: "frozen" if predicate(path, leaf) else "trained",
    )
