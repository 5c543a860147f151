import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fnet.nn import ModelError, check, from_module


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 3)

    def forward(self, x):
        return torch.poisson(F.relu(self.fc(x.flatten(1))))


def test_a_network_that_fits_tells_its_classes():
    model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
    assert check(model, (3, 2, 2)) == 3


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            {"flat": nn.Flatten(), "fc": nn.Linear(13, 3)},
            r"layer 'fc' \(Linear\) got \(2, 12\), expected \(N, 13\): in_features=13",
        ),
        (
            {"conv": nn.Conv2d(4, 8, 1)},
            r"layer 'conv' \(Conv2d\) got \(2, 3, 2, 2\), expected \(N, 4, H, W\): in_channels=4",
        ),
        (
            {"norm": nn.BatchNorm2d(5)},
            r"layer 'norm' \(BatchNorm2d\) got \(2, 3, 2, 2\), expected \(N, 5, \.\.\.\)",
        ),
        ({"pool": nn.MaxPool2d(5)}, r"layer 'pool' \(MaxPool2d\) got \(2, 3, 2, 2\)"),
        ({"conv": nn.Conv2d(3, 8, 1)}, r"returns logits \[N, classes\].* returned \[2, 8, 2, 2\]"),
    ],
    ids=["linear", "conv", "norm", "pool", "no logits"],
)
def test_layers_that_do_not_fit_are_named(layers, message):
    def make():
        module = nn.Sequential()
        for name, layer in layers.items():
            module.add_module(name, layer)
        return module

    with pytest.raises(ModelError, match=message):
        from_module(make, input_shape=(3, 2, 2))


def test_randomness_from_the_global_generator_is_refused():
    with pytest.raises(ModelError, match=r"layer of Functional: poisson draws from the global"):
        check(from_module(Functional), (3, 2, 2))


def test_nothing_is_drawn_by_the_check():
    state = torch.random.get_rng_state()
    check(from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3))), (3, 2, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
