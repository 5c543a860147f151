"""Optimizers as pure functions: optax's shape, torch's numerics and defaults.

A `GradientTransformation` is `init(params) -> state` and `update(grads, state, params) ->
(updates, state)`; `chain` and `partition` make bigger ones of small ones. Hyper-parameters are
numbers or `schedules`, and live in the state (`get_hyper`, `set_hyper`).
"""

from fnet.optim import schedules
from fnet.optim.adam import adam, adamw, scale_by_adam
from fnet.optim.base import (
    GradientTransformation,
    apply_updates,
    chain,
    identity,
    set_to_zero,
    stateless,
)
from fnet.optim.clip import clip_by_global_norm, global_norm
from fnet.optim.finite import ApplyIfFiniteState, apply_if_finite
from fnet.optim.flatten import flatten
from fnet.optim.hyper import Hyper, get_hyper, hypers, set_hyper
from fnet.optim.learning_rate import scale_by_learning_rate
from fnet.optim.muon import muon, newton_schulz, orthogonalize
from fnet.optim.partition import freeze, partition
from fnet.optim.plateau import Plateau, PlateauState, plateau
from fnet.optim.rmsprop import rmsprop, scale_by_rms
from fnet.optim.schedules import Schedule
from fnet.optim.sgd import sgd, trace
from fnet.optim.weight_decay import add_decayed_weights

__all__ = [
    "ApplyIfFiniteState",
    "GradientTransformation",
    "Hyper",
    "Plateau",
    "PlateauState",
    "Schedule",
    "adam",
    "adamw",
    "add_decayed_weights",
    "apply_if_finite",
    "apply_updates",
    "chain",
    "clip_by_global_norm",
    "flatten",
    "freeze",
    "get_hyper",
    "global_norm",
    "hypers",
    "identity",
    "muon",
    "newton_schulz",
    "orthogonalize",
    "partition",
    "plateau",
    "rmsprop",
    "scale_by_adam",
    "scale_by_learning_rate",
    "scale_by_rms",
    "schedules",
    "set_hyper",
    "set_to_zero",
    "sgd",
    "stateless",
    "trace",
]
