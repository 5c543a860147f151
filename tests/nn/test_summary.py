import pytest
import torch
import torchvision
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fnet import models
from fnet.nn import ModelError, from_module, summary


class Devices(TorchDispatchMode):
    """Collects the devices of all tensors that operators return."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.numel() > 16:
            self.seen.add(result.device.type)
        return result


@pytest.fixture(scope="module")
def mynet():
    return summary(models.mynet(), (3, 32, 32))


def test_mynet_has_the_sizes_of_the_write_up(mynet):
    assert mynet.parameters == 5_499_434
    sizes = [mynet.input_mb, mynet.forward_backward_mb, mynet.parameters_mb, mynet.total_mb]
    assert [f"{size:.2f}" for size in sizes] == ["0.01", "5.47", "20.98", "26.46"]


def test_mynets_rows(mynet):
    assert len(mynet.layers) == 18
    assert mynet.layers[3] == ("3", "Conv2d", (1, 128, 32, 32), 73_856, 32 * 32 * 128 * 64 * 9)
    assert mynet.layers[4] == ("4", "BatchNorm2d", (1, 128, 32, 32), 256, 0)
    assert mynet.layers[13] == ("13", "MaxPool2d", (1, 32, 9, 9), 0, 0)
    assert mynet.layers[15] == ("15", "Linear", (1, 2048), 5_310_464, 2592 * 2048)


def test_dropout_layers_keep_their_names():
    table = summary(models.dainet7(), (3, 32, 32))
    assert table.parameters == 1_149_770
    assert [layer.type for layer in table.layers].count("Dropout") == 4


def test_a_nested_network():
    table = summary(from_module(torchvision.models.resnet18), (3, 224, 224))
    assert table.parameters == 11_689_512
    assert table.multiply_adds == 1_814_073_344  # as torchvision gives it: 1.814 GMACs
    rows = {layer.name: layer for layer in table.layers}
    assert rows["layer2.0.downsample.0"].output_shape == (1, 128, 28, 28)
    # A layer called twice has two rows.
    assert [layer.name for layer in table.layers].count("layer1.0.relu") == 2
    assert not any(layer.type == "BasicBlock" for layer in table.layers)


def test_parameters_that_no_layer_runs_with_are_counted():
    table = summary(from_module(Attention), (1, 4, 4))
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    assert table.parameters == sum(p.numel() for p in attention.parameters()) + 4 * 2 + 2
    shapes = {layer.name: layer.output_shape for layer in table.layers}
    assert shapes == {"attention": (1, 4, 4), "fc": (1, 2), "attention.out_proj": None}


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.fc = nn.Linear(4, 2)

    def forward(self, images):
        x = images.squeeze(1)
        return self.fc(self.attention(x, x, x, need_weights=False)[0].mean(1))


def test_shared_parameters_count_once():
    def make():
        shared = nn.Linear(12, 12)
        twin = nn.Linear(12, 12)
        twin.weight = shared.weight
        return nn.Sequential(nn.Flatten(), shared, shared, twin)

    table = summary(from_module(make), (3, 2, 2))
    assert [layer.parameters for layer in table.layers] == [0, 156, 0, 12]
    assert table.multiply_adds == 3 * 144


def test_groups_have_fewer_multiply_adds():
    table = summary(from_module(lambda: nn.Conv2d(4, 8, (1, 3), groups=2)), (4, 5, 5))
    assert [layer.multiply_adds for layer in table.layers] == [8 * 5 * 3 * 2 * 3]
    assert table.layers[0].name == ""


def test_no_weight_is_allocated_and_nothing_is_drawn():
    model = models.mynet()
    state = torch.random.get_rng_state()
    with Devices() as devices:
        first = summary(model, (3, 32, 32))
    assert devices.seen == {"meta"}
    assert torch.equal(torch.random.get_rng_state(), state)
    assert summary(model, (3, 32, 32)) == first


def test_layers_that_do_not_fit_are_named():
    model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)))
    with pytest.raises(ModelError, match=r"layer '1' \(Linear\) got .*in_features=3072"):
        summary(model, (3, 28, 28))


class Noise(nn.Module):
    """Adds noise to the images: one picture of it for all samples, or one for each."""

    def __init__(self, of_batch):
        super().__init__()
        self.of_batch = of_batch

    def forward(self, x):
        if not self.training:
            return x
        return x + torch.rand(x.shape[1:] if self.of_batch else x.shape, device=x.device)


def test_draws_that_belong_to_no_sample_are_named():
    def make():
        layers = (Noise(True), Noise(False), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 2))
        return nn.Sequential(*layers)

    assert summary(from_module(make), (3, 4, 4)).of_batch == ("0",)
    assert summary(models.mynet(), (3, 32, 32)).of_batch == ()


def test_layers_of_dropout_whose_masks_belong_to_no_sample_are_named():
    def make():
        depth = torchvision.ops.StochasticDepth
        return nn.Sequential(
            *(depth(0.5, "batch"), depth(0.5, "row"), nn.Flatten(0, 1), nn.Dropout(0.1)),
            *(nn.Unflatten(0, (-1, 3)), nn.Flatten(), nn.Linear(48, 2)),
        )

    assert summary(from_module(make), (3, 4, 4)).of_batch == ("0", "3")
