"""Batch norm's statistics taken anew: those of the data, whatever they were before."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fnet import random, tree
from fnet.data import NORM_HALF, batches, shapes
from fnet.nn import fresh_statistics, from_module
from fnet.step import make_statistics

DATA = shapes(random.key(0), 64)


def network(momentum=0.1, dropout=0.0, **options):
    return from_module(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.Dropout(dropout),
            nn.BatchNorm2d(4, momentum=momentum, **options),
            nn.AvgPool2d(30),
            nn.Flatten(),
            nn.Linear(4, 10),
        )
    )


def statistics_of(model, params, batches):
    """Return the mean and the variance of each batch where batch norm sees it, `[K, 4]`."""
    found = []
    for batch in batches:
        weight, bias = (params.trainable[f"0.{leaf}"] for leaf in ("weight", "bias"))
        maps = nn.functional.conv2d(NORM_HALF(batch.images), weight, bias)
        found.append((maps.mean((0, 2, 3)), maps.var((0, 2, 3))))
    return tuple(torch.stack(leaves) for leaves in zip(*found, strict=True))


@settings(deadline=None, max_examples=20)
@given(st.floats(0.01, 1.0), st.integers(1, 4), st.sampled_from([0.0, 0.5]))
def test_they_are_a_weighted_mean_of_those_of_the_batches(momentum, count, dropout):
    model = network(momentum, dropout)
    params = model.init(random.key(1))
    stats = {name: 7 + leaf if "running" in name else leaf for name, leaf in params.stats.items()}
    params = params._replace(stats=stats)
    before = tree.map(torch.clone, params)
    chosen = list(batches(random.key(2), DATA, 16))[:count]
    fresh = fresh_statistics(make_statistics(model, preprocess=NORM_HALF), params, chosen)
    weights = torch.tensor([(1 - momentum) ** (count - 1 - k) for k in range(count)])
    means, variances = statistics_of(model, params, chosen)
    for name, values in (("2.running_mean", means), ("2.running_var", variances)):
        expected = (weights[:, None] * values).sum(0) / weights.sum()
        torch.testing.assert_close(fresh.stats[name], expected, rtol=1e-4, atol=1e-4)
    tree.assert_equal(params, before)
    tree.assert_equal(fresh.trainable, params.trainable)
    rest = [{k: v for k, v in p.stats.items() if "running" not in k} for p in (fresh, params)]
    tree.assert_equal(*rest)


def test_a_network_without_batch_norm_stays_as_it_is():
    model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)))
    params = model.init(random.key(0))
    forward = make_statistics(model, preprocess=NORM_HALF)
    assert fresh_statistics(forward, params, []) is params


def test_without_a_batch_there_are_none():
    model = network()
    forward = make_statistics(model, preprocess=NORM_HALF)
    with pytest.raises(ValueError, match="at least one batch"):
        fresh_statistics(forward, model.init(random.key(0)), [])


def test_a_layer_that_does_not_update_its_statistics_keeps_them():
    class Frozen(nn.BatchNorm2d):
        def forward(self, x):
            mean, var = self.running_mean, self.running_var
            return nn.functional.batch_norm(x, mean, var, self.weight, self.bias)

    model = from_module(lambda: nn.Sequential(Frozen(3), nn.Flatten(), nn.Linear(3 * 32 * 32, 10)))
    params = model.init(random.key(0))
    chosen = list(batches(random.key(2), DATA, 16))[:2]
    fresh = fresh_statistics(make_statistics(model, preprocess=NORM_HALF), params, chosen)
    tree.assert_equal(fresh, params)
