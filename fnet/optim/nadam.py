"""NAdam: Adam with Nesterov momentum."""

from typing import NamedTuple

import torch
from torch import Tensor

from fnet import tree
from fnet.optim.base import GradientTransformation, chain
from fnet.optim.hyper import Hyper, Hypers, HyperState, require_decays
from fnet.optim.learning_rate import scale_by_learning_rate
from fnet.optim.moments import average, average_squares, zeros_like
from fnet.optim.weight_decay import add_decayed_weights
from fnet.tree import Tree


class NadamState(NamedTuple):
    """The state of NAdam.

    hyper: the hyper-parameters.
    momenta: the product of the momenta of all updates so far, float64 0-d.
    mu: the average of the gradients, a tree like the params.
    nu: the average of their squares, a tree like the params.
    """

    hyper: HyperState
    momenta: Tensor
    mu: Tree
    nu: Tree


def scale_by_nadam(
    b1: Hyper = 0.9, b2: Hyper = 0.999, eps: Hyper = 1e-8, momentum_decay: Hyper = 4e-3
) -> GradientTransformation:
    """Return the transformation that divides gradients with Nesterov momentum by their RMS.

    The momentum of update t is `m(t) = b1 * (1 - 0.5 * 0.96**(t * momentum_decay))`, and P(t) is
    the product m(1) ... m(t). The updates are `(m(t + 1) / (1 - P(t + 1)) * mu +
    (1 - m(t)) / (1 - P(t)) * grad) / (sqrt(nu_hat) + eps)` with mu and nu as in `scale_by_adam`.
    Hyper-parameters: `b1`, `b2`, `eps`, `momentum_decay`. Dozat, "Incorporating Nesterov momentum
    into Adam", 2016; as `torch.optim.NAdam`.

    Raises:
        ValueError: `b1` or `b2` is 1 or more.
    """
    hyper = Hypers(b1=b1, b2=b2, eps=eps, momentum_decay=momentum_decay)
    require_decays(b1=b1, b2=b2)

    def init(params: Tree) -> NadamState:
        start = hyper.init(params)
        one = torch.ones_like(start.count, dtype=torch.float64)
        return NadamState(start, one, zeros_like(params), zeros_like(params))

    def update(grads: Tree, state: NadamState, params: Tree) -> tuple[Tree, NadamState]:
        values, hyper_state = hyper.advance(state.hyper)
        b1, b2, eps = values["b1"], values["b2"], values["eps"]

        def momentum(count: Tensor) -> Tensor:
            return b1 * (1 - 0.5 * 0.96 ** (count * values["momentum_decay"]))

        now, then = momentum(hyper_state.count), momentum(hyper_state.count + 1)
        momenta = state.momenta * now
        of_grad, of_mu = (1 - now) / (1 - momenta), then / (1 - momenta * then)
        mu, nu = average(b1, state.mu, grads), average_squares(b2, state.nu, grads)
        correct_root = 1 / (1 - b2**hyper_state.count).sqrt()

        def scale(grad: Tensor, m: Tensor, v: Tensor) -> Tensor:
            ahead = of_grad.to(grad) * grad + of_mu.to(m) * m
            return ahead / (correct_root.to(v) * v.sqrt() + eps.to(v))

        return tree.map(scale, grads, mu, nu), NadamState(hyper_state, momenta, mu, nu)

    return GradientTransformation(init, update)


def nadam(
    learning_rate: Hyper = 2e-3,
    b1: Hyper = 0.9,
    b2: Hyper = 0.999,
    eps: Hyper = 1e-8,
    weight_decay: Hyper = 0.0,
    momentum_decay: Hyper = 4e-3,
) -> GradientTransformation:
    """Return NAdam. As `torch.optim.NAdam`, up to the float32 precision of its momentum product.

    `optax.nadam` differs: its momentum is `b1` at every update; the momentum here rises from
    `b1 / 2` to `b1`.

    Args:
        learning_rate: step size; its hyper-parameter `lr_scale` multiplies it.
        b1: decay of the average of the gradients.
        b2: decay of the average of their squares.
        eps: added to the root of the average of the squares.
        weight_decay: an L2 penalty: `weight_decay * params` is added to the gradients.
        momentum_decay: how fast the momentum rises to `b1`.

    Raises:
        ValueError: `b1` or `b2` is 1 or more.
    """
    return chain(
        add_decayed_weights(weight_decay),
        scale_by_nadam(b1, b2, eps, momentum_decay),
        scale_by_learning_rate(learning_rate),
    )
