"""The jax peer trains the networks that fnet trains, with torch's optimizers."""

from contextlib import closing

import numpy as np
import pytest
import torch
from contenders import work

pytest.importorskip("jax")
pytest.importorskip("flax")
pytest.importorskip("optax")

import jax

from fnet import data, models, random, tree
from fnet.data import NORM_HALF
from fnet.run.splits import Splits
from recipes.bench.arrays import save_arrays
from recipes.bench.flax_networks import NETWORKS, network
from recipes.bench.jax_peer import optax_optimizer
from recipes.bench.remote import Remote
from recipes.bench.roster import candidates
from recipes.bench.torch_step import torch_optimizer
from recipes.bench.work import SGD, Adam


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_have_as_many_parameters_as_fnets(name):
    images, key = np.zeros((2, 32, 32, 3), np.float32), jax.random.key(0)
    module = network(name, 10)
    logits, variables = jax.eval_shape(
        lambda: module.init_with_output({"params": key, "dropout": key}, images)
    )
    params = getattr(models, name)().init(random.key(0))
    assert logits.shape == (2, 10)
    leaves = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in leaves) == tree.size(params.trainable)
    assert sorted(leaf.size for leaf in leaves) == sorted(
        leaf.numel() for leaf in params.trainable.values()
    )


@pytest.mark.parametrize(
    "settings",
    [Adam(1e-2, b2=0.99, weight_decay=0.1), SGD(0.1), SGD(0.1, weight_decay=0.1)],
    ids=str,
)
def test_the_optimizers_are_torchs(settings):
    weights = torch.linspace(-1, 1, 7, requires_grad=True)
    optimizer = torch_optimizer(settings, [weights])
    params, tx = weights.detach().numpy().copy(), optax_optimizer(settings)
    state = tx.init(params)
    for step in range(4):
        grads = torch.linspace(2, -1, 7) + step
        weights.grad = grads
        optimizer.step()
        updates, state = tx.update(grads.numpy(), state, params)
        params = params + updates
    np.testing.assert_allclose(params, weights.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_it_trains(tmp_path):
    drawn = data.shapes(random.key(0), 24)
    save_arrays(tmp_path, Splits(drawn, drawn), NORM_HALF)
    (form,) = candidates("jax", work(tmp_path))
    with closing(Remote(work(tmp_path), form, tmp_path)) as remote:
        assert remote.kinds == ("train",)
        assert remote.timing("train", 0.05).images >= 4
