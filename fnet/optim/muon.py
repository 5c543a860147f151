"""Muon: orthogonalized momentum, for weight matrices and convolutions."""

from typing import Any

import torch
from torch import Tensor

from fnet import tree
from fnet.opaque import operation
from fnet.optim.base import GradientTransformation, State, chain, stateless
from fnet.optim.flatten import flatten
from fnet.optim.hyper import Hyper
from fnet.optim.learning_rate import scale_by_learning_rate
from fnet.optim.sgd import trace
from fnet.optim.weight_decay import add_decayed_weights
from fnet.tree import Tree


def newton_schulz(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return approximately the nearest semi-orthogonal matrix: `U @ V.T` for `U @ S @ V.T`.

    Let f be the Frobenius norm. Five steps map singular values between 0.01 f and f to values
    between about 0.7 and 1.2. For training, this is as good as exactly 1. The computation is in the
    dtype of the matrix (`[..., rows, columns]`); bfloat16 is precise enough. A zero matrix stays
    zero. Quintic iteration and coefficients: Keller Jordan, "Muon", 2024
    (kellerjordan.github.io/posts/muon).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[-2] <= matrix.shape[-1]
    x = matrix if wide else matrix.mT
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


def _orthogonal_kernel(leaf: Tensor, steps: int, batch: int) -> Tensor:
    """Return each `[out, in, ...]` as a semi-orthogonal matrix, scaled, with the leaf's strides.

    `batch` is the number of leading batch dimensions.
    """
    matrix = leaf.flatten(batch + 1)
    rows, columns = matrix.shape[-2:]
    scaled = newton_schulz(matrix, steps) * max(1.0, rows / columns) ** 0.5
    return torch.empty_like(leaf).copy_(scaled.reshape(leaf.shape))


def _orthogonal_many(
    info: Any, in_dims: tuple[int | None, None, None], leaf: Tensor, steps: int, batch: int
) -> tuple[Tensor, int]:
    return _orthogonal(leaf.movedim(in_dims[0] or 0, 0), steps, batch + 1), 0


# Opaque: a compiler does not make matrix products faster. Unrolled for every shape of a network,
# they take longer to compile than the rest of the step.
_orthogonal = operation(
    "orthogonal",
    "(Tensor leaf, int steps, int batch) -> Tensor",
    kernel=_orthogonal_kernel,
    fake=lambda leaf, steps, batch: torch.empty_like(leaf),
    vmap=_orthogonal_many,
)


def orthogonalize(ns_steps: int = 5) -> GradientTransformation:
    """Return the transformation that makes each leaf a semi-orthogonal matrix.

    A leaf `[out, in, ...]` is reshaped to the matrix `[out, in * ...]`, orthogonalized by
    `newton_schulz`, and multiplied by `max(1, rows / columns) ** 0.5`. It depends on shapes: do not
    use it on a raveled tree.

    Raises:
        ValueError: by `init` and `update`, for a leaf with fewer than two dimensions.
    """

    def one(path: str, leaf: Tensor) -> Tensor:
        _check_matrix(path, leaf)
        return _orthogonal(leaf, ns_steps, 0)

    transform = stateless(lambda grads, params: tree.map_with_path(one, grads))

    def init(params: Tree) -> State:
        tree.map_with_path(_check_matrix, params)
        return transform.init(params)

    return transform._replace(init=init)


def muon(
    learning_rate: Hyper,
    momentum: Hyper = 0.95,
    nesterov: bool = True,
    weight_decay: Hyper = 0.0,
    ns_steps: int = 5,
) -> GradientTransformation:
    """Return Muon, for the leaves that are matrices or convolutions.

    Momentum (`trace`), then `orthogonalize`, decoupled weight decay, and the learning rate: each
    update has singular values of about `learning_rate * max(1, rows / columns) ** 0.5`. If the
    momentum is constant, this is `torch.optim.Muon` with its default scaling (Keller Jordan's),
    except that convolution weights are flattened to matrices, and the iteration runs in the dtype
    of the leaf, not in bfloat16.

    Give biases, the parameters of normalisation layers, and usually the first and last layer to
    another optimizer with `partition`:

    >>> from fnet import optim
    >>> tx = optim.partition(
    ...     {"muon": optim.muon(0.02), "adam": optim.adam(3e-4)},
    ...     lambda path, leaf: "muon" if leaf.ndim >= 2 and path != "fc.weight" else "adam",
    ... )

    Args:
        learning_rate: step size; its hyper-parameter `lr_scale` multiplies it.
        momentum: decay of the momentum buffers.
        nesterov: use Nesterov momentum.
        weight_decay: the params shrink by the factor `1 - learning_rate * weight_decay`.
        ns_steps: Newton-Schulz iterations; each costs three matrix products per leaf.

    Raises:
        ValueError: by `init` and `update`, for a leaf with fewer than two dimensions.
    """
    return chain(
        flatten(trace(momentum, nesterov=nesterov)),
        orthogonalize(ns_steps),
        flatten(
            chain(add_decayed_weights(weight_decay), scale_by_learning_rate(learning_rate)),
        ),
    )


def _check_matrix(path: str, leaf: Tensor) -> None:
    if leaf.ndim < 2:
        raise ValueError(
            f"muon is for leaves with two dimensions or more, but {path!r} has shape "
            f"{tuple(leaf.shape)}: give it another optimizer with optim.partition"
        )
