"""Adam, with an L2 penalty or with decoupled weight decay."""

from typing import NamedTuple

from torch import Tensor

from fnet import tree
from fnet.optim.base import GradientTransformation, chain
from fnet.optim.hyper import Hyper, Hypers, HyperState, require_decays
from fnet.optim.learning_rate import scale_by_learning_rate
from fnet.optim.moments import average, average_squares, zeros_like
from fnet.optim.weight_decay import add_decayed_weights
from fnet.tree import Tree


class AdamState(NamedTuple):
    """Averages of the gradients (`mu`) and of their squares (`nu`): trees like the params."""

    hyper: HyperState
    mu: Tree
    nu: Tree


def scale_by_adam(b1: Hyper = 0.9, b2: Hyper = 0.999, eps: Hyper = 1e-8) -> GradientTransformation:
    """Return the transformation that divides averaged gradients by their root mean square.

    `mu = b1 * mu + (1 - b1) * grad` and `nu = b2 * nu + (1 - b2) * grad**2` start at 0; `mu_hat`
    and `nu_hat` are bias-corrected; the updates are `mu_hat / (sqrt(nu_hat) + eps)`.
    Hyper-parameters: `b1`, `b2`, `eps`. Kingma and Ba, "Adam", 2015; as `optax.scale_by_adam`.

    Raises:
        ValueError: `b1` or `b2` is 1 or more.
    """
    hyper = Hypers(b1=b1, b2=b2, eps=eps)
    require_decays(b1=b1, b2=b2)

    def init(params: Tree) -> AdamState:
        return AdamState(hyper.init(params), zeros_like(params), zeros_like(params))

    def update(grads: Tree, state: AdamState, params: Tree) -> tuple[Tree, AdamState]:
        values, hyper_state = hyper.advance(state.hyper)
        b1, b2, eps = values["b1"], values["b2"], values["eps"]
        mu, nu = average(b1, state.mu, grads), average_squares(b2, state.nu, grads)
        # One division per element: the bias corrections are inverted as scalars.
        correct_mu = 1 / (1 - b1**hyper_state.count)
        correct_root = 1 / (1 - b2**hyper_state.count).sqrt()

        def scale(m: Tensor, v: Tensor) -> Tensor:
            return correct_mu.to(m) * m / (correct_root.to(v) * v.sqrt() + eps.to(v))

        return tree.map(scale, mu, nu), AdamState(hyper_state, mu, nu)

    return GradientTransformation(init, update)


def adam(
    learning_rate: Hyper = 1e-3,
    b1: Hyper = 0.9,
    b2: Hyper = 0.999,
    eps: Hyper = 1e-8,
    weight_decay: Hyper = 0.0,
) -> GradientTransformation:
    """Return Adam with an L2 penalty. As `torch.optim.Adam`, to rounding.

    Args:
        learning_rate: step size; its hyper-parameter `lr_scale` multiplies it.
        b1: decay of the average of the gradients.
        b2: decay of the average of their squares.
        eps: added to the root of the average of the squares.
        weight_decay: `weight_decay * params` is added to the gradients, before the averages.

    Raises:
        ValueError: `b1` or `b2` is 1 or more.
    """
    return chain(
        add_decayed_weights(weight_decay),
        scale_by_adam(b1, b2, eps),
        scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: Hyper = 1e-3,
    b1: Hyper = 0.9,
    b2: Hyper = 0.999,
    eps: Hyper = 1e-8,
    weight_decay: Hyper = 1e-2,
) -> GradientTransformation:
    """Return Adam with decoupled weight decay. As `torch.optim.AdamW`, to rounding.

    The arguments are those of `adam`, except for the weight decay: the params shrink by the factor
    `1 - learning_rate * weight_decay`, independently of the averages (Loshchilov and Hutter, 2019).
    `optax.adamw` has a default weight decay of 1e-4, and no default learning rate.
    """
    return chain(
        scale_by_adam(b1, b2, eps),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(learning_rate),
    )
