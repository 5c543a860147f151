"""Optimizers as pure functions, with the interface of optax and the numerics of `torch.optim`.

A `GradientTransformation` is `init(params) -> state` and `update(grads, state, params) ->
(updates, state)`; `chain` and `partition` combine several into one. Hyper-parameters are numbers or
`schedules`, and are stored in the state (`get_hyper`, `set_hyper`). Names are those of optax if
optax has the function; if its numerics or defaults differ, the docstring says how.
"""

from fnet.optim import schedules
from fnet.optim.adagrad import adagrad, scale_by_rss
from fnet.optim.adam import adam, adamw, scale_by_adam
from fnet.optim.adaptive_clip import adaptive_grad_clip
from fnet.optim.averages import AverageState, averaged_params, ema_params, swa_params
from fnet.optim.base import (
    GradientTransformation,
    apply_updates,
    chain,
    identity,
    set_to_zero,
    stateless,
)
from fnet.optim.clip import clip_by_global_norm, global_norm
from fnet.optim.ema import ema
from fnet.optim.finite import ApplyIfFiniteState, apply_if_finite
from fnet.optim.flatten import flatten
from fnet.optim.hyper import Hyper, at_count, get_hyper, hypers, set_hyper
from fnet.optim.lamb import lamb, scale_by_trust_ratio
from fnet.optim.learning_rate import scale_by_learning_rate
from fnet.optim.lion import lion, scale_by_lion
from fnet.optim.lookahead import lookahead
from fnet.optim.muon import muon, newton_schulz, orthogonalize
from fnet.optim.nadam import nadam, scale_by_nadam
from fnet.optim.partition import freeze, partition
from fnet.optim.plateau import Plateau, PlateauState, plateau
from fnet.optim.rmsprop import rmsprop, scale_by_rms
from fnet.optim.scale import scale, scale_by_schedule
from fnet.optim.schedules import (
    Schedule,
    exponential_decay,
    polynomial_schedule,
    warmup_cosine_decay_schedule,
)
from fnet.optim.sgd import sgd, trace
from fnet.optim.weight_decay import add_decayed_weights

__all__ = [
    "ApplyIfFiniteState",
    "AverageState",
    "GradientTransformation",
    "Hyper",
    "Plateau",
    "PlateauState",
    "Schedule",
    "adagrad",
    "adam",
    "adamw",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "apply_if_finite",
    "apply_updates",
    "at_count",
    "averaged_params",
    "chain",
    "clip_by_global_norm",
    "ema",
    "ema_params",
    "exponential_decay",
    "flatten",
    "freeze",
    "get_hyper",
    "global_norm",
    "hypers",
    "identity",
    "lamb",
    "lion",
    "lookahead",
    "muon",
    "nadam",
    "newton_schulz",
    "orthogonalize",
    "partition",
    "plateau",
    "polynomial_schedule",
    "rmsprop",
    "scale",
    "scale_by_adam",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_nadam",
    "scale_by_rms",
    "scale_by_rss",
    "scale_by_schedule",
    "scale_by_trust_ratio",
    "schedules",
    "set_hyper",
    "set_to_zero",
    "sgd",
    "stateless",
    "swa_params",
    "trace",
    "warmup_cosine_decay_schedule",
]
