"""Every architecture against the eager module written out by hand, with the same weights."""

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import references
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from fnet import models, random, tree
from fnet.data import Batch
from fnet.losses import cross_entropy
from fnet.models.blocks import MeanOfMap, pool_to
from fnet.nn import Model
from fnet.step import make_grad

PUBLISHED = {
    "net": 62_006,
    "lenet5": 61_706,
    "cnn": 34_634,
    "cnnpro": 75_786,
    "dainet": 212_022,
    "dainet1": 42_618,
    "dainet7": 1_149_770,
    "mynet": 5_499_434,
    "mycnn": 8_110,
    "resnet18": 11_173_962,
    "resnet50": 23_520_842,
}
SMALLEST = {
    "net": 16,
    "lenet5": 12,
    "cnn": 4,
    "cnnpro": 8,
    "dainet": 4,
    "dainet1": 8,
    "mycnn": 6,
}


class Case(NamedTuple):
    model: Callable[[], Model]
    reference: Callable[[], nn.Module]
    image: tuple[int, int, int] = (3, 32, 32)
    batch: int = 4


CASES = {
    "net": Case(models.net, references.Net),
    "net, sigmoid": Case(
        lambda: models.net(activation=nn.Sigmoid),
        lambda: references.Net(activation=torch.sigmoid),
    ),
    "net, two linears": Case(
        lambda: models.net(linears=2),
        lambda: references.Net(linears=2),
    ),
    "net, one linear and softmax": Case(
        lambda: models.net(linears=1, softmax=True),
        lambda: references.Probabilities(references.Net(linears=1)),
    ),
    "net, other images": Case(
        lambda: models.net(classes=7, channels=1, size=27),
        lambda: references.Net(channels=1, features=16 * 3 * 3, classes=7),
        image=(1, 27, 27),
    ),
    "lenet5": Case(
        models.lenet5,
        lambda: references.Net(channels=1, padding=2),
        image=(1, 28, 28),
    ),
    "lenet5, other images": Case(
        lambda: models.lenet5(classes=5, channels=3, size=25),
        lambda: references.Net(channels=3, features=16 * 4 * 4, classes=5, padding=2),
        image=(3, 25, 25),
    ),
    "cnn": Case(models.cnn, references.CNN),
    "cnn, faces": Case(
        lambda: models.cnn(classes=7, channels=1, size=48, full_size=48),
        lambda: references.CNN(channels=1, features=32 * 12 * 12, classes=7),
        image=(1, 48, 48),
    ),
    "cnnpro": Case(models.cnnpro, references.CNNpro),
    "cnnpro, faces": Case(
        lambda: models.cnnpro(classes=7, channels=1, size=48, full_size=48),
        lambda: references.CNNpro(channels=1, features=64 * 6 * 6, classes=7),
        image=(1, 48, 48),
    ),
    "dainet": Case(lambda: models.dainet(dropout=(0, 0)), references.DaiNet),
    "dainet, tanh, one linear and softmax": Case(
        lambda: models.dainet(dropout=(0, 0), activation=nn.Tanh, linears=1, softmax=True),
        lambda: references.Probabilities(references.DaiNet(activation=torch.tanh, linears=1)),
    ),
    "dainet, other images": Case(
        lambda: models.dainet(3, 1, 21, dropout=(0, 0)),
        lambda: references.DaiNet(channels=1, features=24 * 5 * 5, classes=3),
        image=(1, 21, 21),
    ),
    "dainet, deeper": Case(
        lambda: models.dainet(dropout=(0, 0), deeper=True),
        lambda: references.DaiNet(deeper=True),
    ),
    "dainet1": Case(lambda: models.dainet1(dropout=(0, 0, 0)), references.DaiNet1),
    "dainet1, softplus, two linears": Case(
        lambda: models.dainet1(dropout=(0, 0, 0), activation=nn.Softplus, linears=2),
        lambda: references.DaiNet1(activation=F.softplus, linears=2),
    ),
    "dainet1, softmax, other images": Case(
        lambda: models.dainet1(3, 1, 25, dropout=(0, 0, 0), softmax=True),
        lambda: references.Probabilities(
            references.DaiNet1(channels=1, features=12 * 3 * 3, classes=3)
        ),
        image=(1, 25, 25),
    ),
    "dainet7": Case(lambda: models.dainet7(dropout=(0, 0, 0, 0)), references.DaiNet7),
    "dainet7, softplus, other images": Case(
        lambda: models.dainet7(5, 1, dropout=(0, 0, 0, 0), activation=nn.Softplus),
        lambda: references.DaiNet7(channels=1, classes=5, activation=F.softplus),
        image=(1, 32, 32),
    ),
    "mynet, other images": Case(
        lambda: models.mynet(classes=5, channels=1, size=14),
        lambda: references.Mynet(channels=1, features=32 * 5 * 5, classes=5),
        image=(1, 14, 14),
    ),
    "mycnn": Case(models.mycnn, references.MyCNN, image=(1, 28, 28)),
    "mycnn, other images": Case(
        lambda: models.mycnn(classes=5, channels=3, size=(20, 14)),
        lambda: references.MyCNN(channels=3, features=32 * 2 * 2, classes=5),
        image=(3, 20, 14),
    ),
    "resnet18, other images": Case(
        lambda: models.resnet18(classes=5, channels=1),
        lambda: references.ResNet(False, [2, 2, 2, 2], channels=1, classes=5),
        image=(1, 17, 17),
        batch=2,
    ),
    "resnet50": Case(
        models.resnet50,
        lambda: references.ResNet(True, [3, 4, 6, 3]),
        image=(3, 16, 16),
        batch=2,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count(name):
    model = getattr(models, name)()
    with torch.device("meta"):
        module = model.make()
    assert sum(p.numel() for p in module.parameters()) == PUBLISHED[name]


@pytest.mark.parametrize("name", CASES)
def test_logits_gradients_and_statistics_are_those_of_the_eager_module(name):
    """In float64: in float32, rounding at the kink of a ReLU would look like a real difference."""
    case = CASES[name]
    model, module = case.model(), case.reference().double()
    params = tree.map(lambda leaf: leaf.double(), model.init(random.key(0)))
    with torch.no_grad():
        for own, value in zip(module.parameters(), params.trainable.values(), strict=True):
            assert own.shape == value.shape
            own.copy_(value)
    images = random.uniform(random.key(1), (case.batch, *case.image)).double()
    labels = torch.tensor([2, 1, 0, 1])[: case.batch]
    torch.testing.assert_close(model.apply(params, images)[0], module.eval()(images))

    batch = Batch(
        images=images,
        labels=labels,
        key=random.key(2),
        index=torch.arange(case.batch),
        weight=torch.ones(case.batch),
        epoch=torch.zeros((), dtype=torch.float64),
    )
    grad_fn = make_grad(model, cross_entropy, preprocess=lambda x: x, dtype=torch.float64)
    grads, stats, sums = grad_fn(params, batch)
    loss = F.cross_entropy(module.train()(images), labels)
    loss.backward()
    torch.testing.assert_close(sums["loss"] / case.batch, loss.detach())
    expected = [p.grad for p in module.parameters()]
    tree.assert_close(list(grads.values()), expected, rtol=1e-6, atol=1e-9)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    expected = [leaf for norm in norms for leaf in (norm.running_mean, norm.running_var)]
    tree.assert_close(list(stats.values()), expected, rtol=1e-6, atol=1e-9)


CONV, NORM, POOL = nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d
# Model, its rates, and the kinds of layer right before and after each dropout that drops.
DROPOUT = {
    "dainet": (models.dainet(), {1: 0.5}, CONV, NORM),
    "dainet, every block": (models.dainet(dropout=(0.4, 0.3)), {1: 0.4, 2: 0.3}, CONV, NORM),
    "dainet1": (models.dainet1(), {1: 0.5}, CONV, NORM),
    "dainet1, every block": (
        models.dainet1(dropout=(0.5, 0.25, 0.1)),
        {1: 0.5, 2: 0.25, 3: 0.1},
        CONV,
        NORM,
    ),
    "dainet7": (models.dainet7(), {1: 0.1, 2: 0.1, 4: 0.5, 5: 0.5}, (NORM, POOL), CONV),
}


@pytest.mark.parametrize("name", DROPOUT)
def test_dropout_has_its_rate_and_its_place(name):
    """Dropout rates, by the number of convolutions before the layer."""
    model, rates, before, after = DROPOUT[name]
    stats = model.init(random.key(0)).stats
    recorded = [leaf for name, leaf in stats.items() if name.endswith(".p")]
    assert recorded == [torch.tensor(rate) for rate in rates.values()]

    layers = list(model.make().children())
    found = {}
    for place, layer in enumerate(layers):
        if isinstance(layer, nn.Dropout) and layer.p > 0:
            found[sum(isinstance(other, nn.Conv2d) for other in layers[:place])] = layer.p
            assert isinstance(layers[place - 1], before)
            assert isinstance(layers[place + 1], after)
    assert found == rates


@pytest.mark.parametrize("name", ["net", "lenet5", "cnn", "mynet", "dainet1", "dainet7"])
@pytest.mark.parametrize("factor", [0.75, 1.5])
def test_images_of_another_size_are_pooled_to_the_grid_of_the_linear_layers(name, factor):
    model, side = getattr(models, name)(), 28 if name == "lenet5" else 32
    params = model.init(random.key(0))
    channels = 1 if name == "lenet5" else 3
    images = random.uniform(random.key(1), (2, channels, round(factor * side), side))
    (logits, _), train = model.apply(params, images), {"key": random.key(2), "train": True}
    assert logits.shape == model.apply(params, images, **train)[0].shape == (2, 10)
    assert not logits[0].equal(logits[1])


SIDES = {"lenet5": 28, "mycnn": 28}
LEAST = SMALLEST | {"dainet7": 4, "mynet": 1}


@settings(max_examples=60)
@given(
    st.sampled_from([*SMALLEST, "dainet7", "mynet"]),
    st.tuples(st.integers(1, 96), st.integers(1, 96)),
    st.integers(1, 4),
)
@example("net", (256, 16), 2)
@example("lenet5", (12, 256), 4)
@example("mynet", (8, 8), 3)
def test_every_size_fits_and_larger_images_need_no_more_parameters(name, size, channels):
    factory, author = getattr(models, name), SIDES.get(name, 32)
    if min(size) < LEAST[name]:
        with pytest.raises(ValueError, match=f"needs at least {LEAST[name]} x {LEAST[name]};"):
            factory(channels=channels, size=size)
        return
    make = factory(channels=channels, size=size).make
    with torch.device("meta"):
        module, authors = make().eval(), factory(channels=channels).make()
        logits = module(torch.zeros(2, channels, *size))
    assert logits.shape == (2, 10)
    own, full = (
        {key: value.shape for key, value in of.state_dict().items()} for of in (module, authors)
    )
    if min(size) >= author:
        assert own == full
    assert sum(map(math.prod, own.values())) <= sum(map(math.prod, full.values()))


@settings(max_examples=30)
@given(st.tuples(*[st.integers(1, 20)] * 2), st.tuples(*[st.integers(1, 12)] * 2))
def test_maps_are_pooled_as_adaptive_pooling_does(size, grid):
    maps = torch.arange(2.0 * size[0] * size[1], dtype=torch.float64).sin().view(1, 2, *size)
    expected = F.adaptive_avg_pool2d(maps, grid)
    torch.testing.assert_close(pool_to(maps, grid), expected, rtol=1e-12, atol=1e-12)


def test_the_mean_of_a_map_has_the_bits_of_average_pooling():
    maps = random.normal(random.key(0), (16, 64, 8, 8))
    assert MeanOfMap()(maps).equal(nn.AvgPool2d(8)(maps))
    assert MeanOfMap()(maps[..., :6, :5]).shape == (16, 64, 1, 1)


def test_mynet_begins_xavier_uniform_with_zero_biases():
    own = models.mynet(size=12).init(random.key(0)).trainable
    for name, leaf in own.items():
        if leaf.dim() > 1:
            kernel = math.prod(leaf.shape[2:])
            bound = math.sqrt(6 / (kernel * (leaf.shape[0] + leaf.shape[1])))
            assert 0.98 * bound < leaf.abs().max() <= bound
            torch.testing.assert_close(
                leaf.std(), torch.tensor(bound / math.sqrt(3)), rtol=0.05, atol=0
            )
            bias = own[name.replace("weight", "bias")]
            assert not bias.any()
    assert models.mynet(size=12, init=None).init(random.key(0)).trainable["0.bias"].any()


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_images_fit_and_smaller_ones_are_refused(name):
    factory, size = getattr(models, name), SMALLEST[name]
    model = factory(channels=2, size=size)
    logits, _ = model.apply(model.init(random.key(0)), torch.zeros(3, 2, size, size))
    assert logits.shape == (3, 10)
    with pytest.raises(ValueError, match="images are too small"):
        factory(channels=2, size=size - 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.net(linears=4), "linears is 4, expected a number from 1 to 3"),
        (lambda: models.dainet1(linears=0), "linears is 0, expected a number from 1 to 3"),
        (lambda: models.dainet(dropout=(0.5,)), r"dropout is \(0.5,\), expected 2 rates"),
        (lambda: models.dainet1(dropout=(0.5,)), r"dropout is \(0.5,\), expected 3 rates"),
        (lambda: models.dainet7(dropout=(0.5,)), r"dropout is \(0.5,\), expected 4 rates"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
