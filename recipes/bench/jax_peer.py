"""The jax contender: a data set in memory, preprocessed once, and the whole step in `jax.jit`."""

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from recipes.bench.contender import Stream, Streams
from recipes.bench.flax_networks import network
from recipes.bench.work import SGD, Adam, Optimizer, Work


def jitted(work: Work, bf16: bool) -> Streams:
    """Return the training steps: no augmentation, donated state, bfloat16 or float32."""
    _limit(work)
    import jax
    import optax
    from jax import numpy as jnp

    index = int(work.device.partition(":")[2] or 0)
    jax.config.update("jax_default_device", jax.local_devices()[index])
    images = jnp.asarray(work.load("inputs"))
    labels = jnp.asarray(work.load("train_labels").astype(np.int32))
    model = network(work.network, work.classes, jnp.bfloat16 if bf16 else jnp.float32)
    tx = optax_optimizer(work.optimizer)
    key = jax.random.key(0)
    variables = model.init({"params": key, "dropout": key}, images[:1])
    params = variables["params"]
    state = params, variables.get("batch_stats", {}), tx.init(params), key

    def mean_loss(params: Any, stats: Any, index: Any, key: Any, images: Any, labels: Any) -> Any:
        logits, changed = model.apply(
            {"params": params, "batch_stats": stats},
            images[index],
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(
            logits.astype(jnp.float32), labels[index]
        )
        return losses.mean(), changed.get("batch_stats", {})

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, index: Any, images: Any, labels: Any) -> Any:
        params, stats, opt_state, key = state
        key, own = jax.random.split(key)
        grad_fn = jax.value_and_grad(mean_loss, has_aux=True)
        (loss, stats), grads = grad_fn(params, stats, index, own, images, labels)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), stats, opt_state, key), loss

    def steps() -> Iterator[Any]:
        nonlocal state
        random, size, before = np.random.default_rng(0), work.batch_size, None
        while True:
            order = random.permutation(len(labels)).astype(np.int32)
            for first in range(0, len(order) - size + 1, size):
                state, loss = step(state, order[first : first + size], images, labels)
                # At most one step is queued ahead; otherwise a timing would only launch steps.
                jax.block_until_ready(before)
                before = loss
                yield state

    return {"train": Stream(steps(), work.batch_size, jax.block_until_ready)}


def optax_optimizer(settings: Optimizer) -> Any:
    """Return optax's optimizer with these settings."""
    import optax

    match settings:
        case Adam(lr, b2, decay):
            tx = optax.adam(lr, b2=b2)
        case SGD(lr, momentum, decay):
            tx = optax.sgd(lr, momentum=momentum)
    return optax.chain(optax.add_decayed_weights(decay), tx) if decay else tx


def _limit(work: Work) -> None:
    """Limit jax to the device and threads of the other contenders; call it before importing jax."""
    os.environ["JAX_PLATFORMS"] = "cpu" if work.device == "cpu" else "cuda"
    # By default jax preallocates most of the GPU's memory, which the other contenders need too.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if hasattr(os, "sched_setaffinity"):
        # jax has no setting for the number of threads: it starts one for each available CPU.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: work.threads])
