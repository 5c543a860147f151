from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from fnet import models, random, tree
from fnet.data import Batch
from fnet.losses import cross_entropy
from fnet.nn import Params
from fnet.step import make_grad


class Reference(nn.Module):
    """DaiNet7 written out, dropout aside."""

    def __init__(self):
        super().__init__()
        sizes = [3, 64, 64, 128, 128, 256, 256]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in sizes[1:])
        self.fc = nn.Linear(256, 10)

    def forward(self, x):
        for place, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(F.relu(conv(x)))
            if place in (1, 3):
                x = F.max_pool2d(x, 2)
        return self.fc(x.mean((2, 3)))


def _reference(params: Params) -> Reference:
    """The reference with the same weights: both list them in the order of the layers."""
    module = Reference()
    layers = [layer for pair in zip(module.convs, module.norms, strict=True) for layer in pair]
    own = [p for layer in [*layers, module.fc] for p in layer.parameters()]
    with torch.no_grad():
        for target, value in zip(own, params.trainable.values(), strict=True):
            target.copy_(value)
    module.ordered = own
    return module


def test_parameter_count():
    params = models.dainet7().init(random.key(0))
    assert tree.size(params.trainable) == 1_149_770
    assert [float(params.stats[n]) for n in params.stats if n.endswith(".p")] == [
        torch.tensor(p, dtype=torch.float32).item() for p in (0.1, 0.1, 0.5, 0.5)
    ]


def test_logits_gradients_and_statistics_are_those_of_the_eager_module():
    """In float64: rounding that moves a pixel across a ReLU's corner would hide a difference."""
    model = models.dainet7(dropout=(0.0, 0.0, 0.0, 0.0))
    params = tree.map(lambda leaf: leaf.double(), model.init(random.key(0)))
    module = _reference(params).double()
    images = random.uniform(random.key(1), (4, 3, 32, 32)).double()
    labels = torch.tensor([3, 1, 4, 1])
    torch.testing.assert_close(model.apply(params, images)[0], module.eval()(images))

    batch = Batch(
        images=images,
        labels=labels,
        key=random.key(2),
        index=torch.arange(4),
        weight=torch.ones(4),
        epoch=torch.zeros((), dtype=torch.float64),
    )
    grad_fn = make_grad(model, cross_entropy, preprocess=lambda x: x, dtype=torch.float64)
    grads, stats, sums = grad_fn(params, batch)
    loss = F.cross_entropy(module.train()(images), labels)
    loss.backward()
    torch.testing.assert_close(sums["loss"] / 4, loss.detach())
    tree.assert_close(list(grads.values()), [p.grad for p in module.ordered], rtol=1e-6, atol=1e-9)
    for statistic in ("running_mean", "running_var"):
        got = [leaf for name, leaf in stats.items() if name.endswith(statistic)]
        expected = [getattr(norm, statistic) for norm in module.norms]
        tree.assert_close(got, expected, rtol=1e-6, atol=1e-9)
