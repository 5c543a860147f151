"""Modules as people write them: they become pure, or an error names the layer."""

import contextvars
import datetime
import itertools
import os
import random as python_random
import time
import weakref
from time import perf_counter

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.func import vmap
from torch.nn import functional as F

from fnet import losses, optim, random, tree
from fnet.data import Batch
from fnet.nn import ModelError, check, from_module, from_state_dict, to_module
from fnet.step import make_grad, make_step
from fnet.testing import assert_pure

SAMPLES = 4


def images(size=8, samples=SAMPLES):
    return random.normal(random.key(1), (samples, 3, size, size))


class Net(nn.Module):
    """A linear layer, and a function of the network and its output."""

    def __init__(self, function, **layers):
        super().__init__()
        self.fc = nn.Linear(192, 16)
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.function(self, self.fc(x.flatten(1)))


def net(function, **layers):
    return lambda: Net(function, **{name: make() for name, make in layers.items()})


def tied():
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 192), nn.ReLU(), nn.Linear(192, 192))
    module[3].weight = module[1].weight
    return module


def used_twice():
    layer = nn.Linear(192, 192)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer)


def one_step(model, params, samples=SAMPLES, key=5):
    tx = optim.sgd(0.1, momentum=0.9)
    grad_fn = make_grad(model, losses.cross_entropy, preprocess=lambda x: x)
    batch = Batch(
        images(samples=samples),
        torch.arange(samples),
        random.key(key),
        torch.arange(samples),
        torch.ones(samples),
        torch.tensor(0),
    )
    state = tx.init(params.trainable)
    return make_step(grad_fn, tx)(params, state, batch)[:2], state


@pytest.mark.parametrize("make", [tied, used_twice])
def test_shared_leaves_are_one_and_their_gradients_add_up(make):
    model = from_module(make)
    params = model.init(random.key(0))
    module = to_module(model, params)
    module.train()
    F.cross_entropy(module(images()), torch.arange(SAMPLES)).backward()
    (after, _), _ = one_step(model, params)
    assert list(params.trainable) == [name for name, _ in module.named_parameters()]
    for name, leaf in module.named_parameters():
        expected = leaf.detach() - 0.1 * leaf.grad
        torch.testing.assert_close(after.trainable[name], expected)


@pytest.mark.parametrize("make", [tied, used_twice])
def test_shared_leaves_go_out_under_every_name_and_come_back(make):
    model = from_module(make)
    params = model.init(random.key(0))
    module = to_module(model, params)
    assert module[1].weight is module[3].weight
    state = module.state_dict()
    assert set(state) == set(make().state_dict())
    tree.assert_equal(from_state_dict(model.init(random.key(1)), state), params)
    first = {name: leaf for name, leaf in state.items() if name != "3.weight"}
    tree.assert_equal(from_state_dict(model.init(random.key(1)), first), params)
    with pytest.raises(ModelError, match=r"'1\.weight' and '3\.weight' are one shared leaf"):
        from_state_dict(params, {**state, "3.weight": state["3.weight"] + 1})


def test_networks_with_leaves_of_the_same_names_are_told_apart():
    def plain():
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 192))

    shared, single = from_module(used_twice), from_module(plain)
    for model, make in ((shared, used_twice), (single, plain), (shared, used_twice)):
        params, state = model.init(random.key(0)), make().state_dict()
        tree.assert_equal(
            from_state_dict(params, state), from_state_dict(params, state, model=model)
        )
    with pytest.raises(ModelError, match=r"they have '3\.bias'"):
        from_state_dict(single.init(random.key(0)), used_twice().state_dict(), model=single)


def test_parameters_that_need_no_gradient_stay_what_they_are():
    def make():
        module = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Linear(8, 4))
        module[1].requires_grad_(False)
        return module

    model = from_module(make)
    params = model.init(random.key(0))
    assert sorted(params.trainable) == ["2.bias", "2.weight"]
    (after, _), _ = one_step(model, params)
    for name in ("1.weight", "1.bias"):
        assert torch.equal(after.stats[name], params.stats[name])
    assert not torch.equal(after.trainable["2.bias"], params.trainable["2.bias"])
    # Computed weights are cast like weights.
    logits, _ = model.apply(params, images().bfloat16(), train=True)
    assert logits.dtype == torch.bfloat16
    exported = to_module(model, params).parameters()
    assert [leaf.requires_grad for leaf in exported] == [False, False, True, True]


class Mean(nn.Module):
    """A layer that updates a running mean by assignment."""

    def __init__(self, always=False):
        super().__init__()
        self.fc, self.always = nn.Linear(192, 4), always
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        y = self.fc(x.flatten(1))
        if self.training or self.always:
            self.mean = 0.9 * self.mean + 0.1 * y.mean(0)
        return y - self.mean


def test_a_buffer_that_is_assigned_is_handed_back():
    model = from_module(Mean)
    params = model.init(random.key(0))
    module = to_module(model, params).train()
    module(images())
    (after, _), _ = one_step(model, params)
    torch.testing.assert_close(after.stats["mean"], module.mean.detach())
    assert not params.stats["mean"].any()
    with pytest.raises(ModelError, match=r"layer of Mean: .* buffer 'mean' in evaluation mode"):
        from_module(lambda: Mean(always=True), input_shape=(3, 8, 8))


COUNT = 0


class Impure(nn.Module):
    """A layer with one impurity, given by its kind."""

    def __init__(self, kind):
        super().__init__()
        self.inner = nn.Linear(192, 4)
        self.kind, self.count, self.table = kind, 0, {}
        self.generator = np.random.default_rng(0)
        if kind == "list":
            self.weights = [nn.Parameter(torch.ones(4))]
        if kind == "tensor":
            self.scale = torch.ones(4)
        if kind == "layers":
            self.layers = {"a": nn.Linear(4, 4)}

    def forward(self, x):
        y = self.inner(x.flatten(1))
        match self.kind:
            case "counter":
                self.count += 1
            case "dict":
                self.table["last"] = 1
            case "attribute":
                self.last = y
            case "generator":
                y = y * self.generator.random()
            case "python":
                y = y * python_random.random()
            case "numpy":
                y = y * np.random.rand()
            case "seed":
                torch.manual_seed(7)
            case "poisson":
                y = torch.poisson(y.abs())
            case "weight":
                self.inner.weight.data.mul_(0.5)
            case "global":
                global COUNT
                COUNT += 1
        return y


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("list", "attribute 'weights' holds a parameter .* register it .*ParameterList"),
        ("tensor", "attribute 'scale' holds a tensor .* register it"),
        ("layers", r"attribute 'layers' holds a layer \(Linear\) .*ModuleList"),
        ("counter", "attribute 'count' of layer '0'"),
        ("dict", "attribute 'table' of layer '0'"),
        ("attribute", "attribute 'last' of layer '0'"),
        ("generator", "attribute 'generator' of layer '0'"),
        ("python", "global generator of Python"),
        ("numpy", "global generator of numpy"),
        ("seed", "global generator of PyTorch"),
        ("poisson", "poisson draws from the global random generator"),
        ("weight", r"writes into the weight '0\.inner\.weight'"),
        ("global", "global 'COUNT' that Impure.forward uses"),
    ],
)
def test_what_cannot_be_pure_is_refused_by_name_at_the_first_call(kind, message):
    def call():
        model = from_module(lambda: nn.Sequential(Impure(kind)))
        model.apply(model.init(random.key(0)), images(), key=random.key(1), train=True)

    with pytest.raises(ModelError, match=message) as caught:
        call()
    assert "'0' (Impure)" in str(caught.value) or kind == "global"


def test_images_that_a_network_writes_into_stay_what_they_are():
    model = from_module(lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Flatten()))
    params, given = model.init(random.key(0)), images()
    model.apply(params, given, train=True)
    logits, _ = model.apply(params, given)
    assert torch.equal(given, images())
    assert torch.equal(logits, images().relu().flatten(1))


def test_what_cannot_run_without_data_is_run_with():
    model = from_module(
        lambda: Net(lambda self, x: x * torch.arange(16) if float(x.sum()) > -1e9 else x)
    )
    logits, _ = model.apply(model.init(random.key(0)), images(), train=True)
    assert logits.shape == (SAMPLES, 16)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), r"'1' \(LazyLinear\) .* Linear"),
        (
            lambda: nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3))),
            r"'0' \(SyncBatchNorm\) .* use nn.BatchNorm2d",
        ),
        (lambda: nn.Sequential(nn.Linear(3, 3)).half(), r"'0' \(Linear\): 'weight' is float16"),
        (lambda: nn.Sequential(nn.Linear(3, 3)).double(), r"'0' \(Linear\): 'weight' is float64"),
        (
            lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 3))),
            r"'0' \(Linear\): SpectralNorm .*parametrizations.spectral_norm",
        ),
        (lambda: 3, "returned a int"),
    ],
    ids=["lazy", "sync", "half", "double", "spectral", "no module"],
)
def test_layers_that_are_not_plain_are_refused_with_what_to_do(make, message):
    with pytest.raises(ModelError, match=message):
        from_module(make)


def test_pruned_layers_are_refused():
    from torch.nn.utils import prune

    with pytest.raises(ModelError, match=r"'0' \(Linear\): RandomUnstructured .*parametrization"):
        from_module(
            lambda: nn.Sequential(prune.random_unstructured(nn.Linear(3, 3), "weight", 0.5))
        )


def test_a_module_that_is_not_made_anew_is_refused_and_stays_whole():
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    model = from_module(lambda: module)
    with pytest.raises(ModelError, match=r"'1\.weight' belongs to a layer that is not new"):
        model.init(random.key(0))
    assert module[1].weight.device.type == "cpu"


def test_batch_norm_on_one_value_is_refused_by_name():
    model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192)))
    params = model.init(random.key(0))
    assert model.apply(params, images(samples=1))[0].shape == (1, 192)
    with pytest.raises(ModelError, match=r"'1' \(BatchNorm1d\) got \(1, 192\): .*2 images or more"):
        model.apply(params, images(samples=1), train=True)


def test_outputs_of_training_mode_alone_are_picked_or_refused():
    def make():
        return torchvision.models.googlenet(num_classes=5, init_weights=False)

    with pytest.raises(ModelError, match=r"in training mode this .* returns a GoogLeNetOutputs"):
        from_module(make, input_shape=(3, 32, 32))
    model = from_module(make, output=lambda out: out.logits, input_shape=(3, 32, 32))
    params = model.init(random.key(0))
    logits, _ = model.apply(params, images(32), key=random.key(0), train=True)
    assert logits.shape == (SAMPLES, 5)


def test_checkpointing_is_refused_by_layer():
    with pytest.raises(ModelError, match=r"'features.denseblock1.denselayer1'.*memory_efficient"):
        from_module(
            lambda: torchvision.models.densenet121(memory_efficient=True), input_shape=(3, 32, 32)
        )


def test_initial_parameters_may_be_mapped_over_keys():
    model = from_module(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    keys = random.split(random.key(0), 3)
    together = vmap(model.init)(keys)
    for place, key in enumerate(keys):
        alone, mapped = model.init(key), tree.map(lambda leaf, n=place: leaf[n], together)
        tree.assert_equal(mapped, alone)
        assert tree.first_layout_difference(mapped, alone) is None


def test_a_layer_without_dropout_keeps_its_attributes():
    def kept(self, x):
        return x if self.drop.p == 0.0 and not self.drop.inplace else x * torch.nan

    model = from_module(net(kept, drop=lambda: nn.Dropout(0.0)))
    logits, _ = model.apply(model.init(random.key(0)), images(), train=True)
    assert logits.isfinite().all()


def test_the_rate_of_a_dropout_layer_may_be_read():
    def twice(self, x):
        return F.dropout(self.drop(x), self.drop.p, self.training)

    model = from_module(net(twice, drop=lambda: nn.Dropout(0.5)))
    params = model.init(random.key(0))
    logits, _ = model.apply(params, images(), key=random.key(1), train=True)
    assert (logits == 0).float().mean() > 0.6


def test_buffers_that_are_not_saved_are_left_out():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("index", torch.arange(3), persistent=False)

        def forward(self, x):
            return x[:, :, 0, 0] + self.index

    model = from_module(Table)
    params = model.init(random.key(0))
    state = to_module(model, params).state_dict()
    assert not state
    tree.assert_equal(from_state_dict(params, state), params)


@pytest.mark.parametrize("layout", [torch.preserve_format, torch.channels_last])
def test_strides_of_small_kernels_survive_a_step(layout):
    model = from_module(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        ),
        memory_format=layout,
    )
    params = model.init(random.key(0))
    (after, state), before = one_step(model, params)
    assert tree.first_layout_difference(after, params) is None
    assert tree.first_layout_difference(state, before) is None


@pytest.mark.parametrize("whole", [True, False])
def test_the_state_of_another_optimizer_is_refused_by_name(whole):
    model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 16)))
    params = model.init(random.key(0))
    grad_fn = make_grad(model, losses.cross_entropy, preprocess=lambda x: x)
    tx = optim.adam(0.1)
    state = tx.init(params) if whole else optim.sgd(0.1, momentum=0.9).init(params.trainable)
    batch = Batch(
        images(),
        torch.arange(SAMPLES),
        random.key(0),
        torch.arange(SAMPLES),
        torch.ones(SAMPLES),
        torch.tensor(0),
    )
    with pytest.raises(ValueError, match=r"make it with tx\.init\(params\.trainable\)"):
        make_step(grad_fn, tx)(params, state, batch)


def _elapsed():
    return perf_counter()


class Clock(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.fc, self.kind = nn.Linear(192, 4), kind

    def stamp(self):
        return datetime.datetime.now().microsecond

    def forward(self, x):
        y = self.fc(x.flatten(1))
        if self.kind == "function":
            return y * (_elapsed() % 1)
        return y * (self.stamp() % 7)


class Asleep(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.made = nn.Linear(192, 4), time.time()

    def forward(self, x):
        time.sleep(0)
        return self.fc(x.flatten(1))


class Slots(nn.Module):
    __slots__ = ("count",)

    def forward(self, x):
        return x.flatten(1)


def test_clocks_in_a_forward_are_refused():
    with pytest.raises(
        ModelError, match=r"layer of Clock calls (time\.perf_counter|datetime\.now)"
    ):
        check(from_module(lambda: Clock("function")), (3, 8, 8))
    with pytest.raises(ModelError, match=r"layer '1' \(Net\) calls time\.time in its forward pass"):
        check(
            from_module(lambda: nn.Sequential(nn.Identity(), Net(lambda _, y: y * time.time()))),
            (3, 8, 8),
        )
    assert check(from_module(Asleep), (3, 8, 8)) == 4


def test_slots_are_refused():
    with pytest.raises(ModelError, match=r"class Slots keeps 'count' in __slots__"):
        from_module(Slots)


class Counting(torch.autograd.Function):
    count = 0

    @staticmethod
    def forward(x):
        Counting.count += 1
        return x * Counting.count

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Old(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class State:
    def __init__(self):
        self.count = 0


STATE = State()


def _counted(y):
    STATE.count += 1
    return y


def _weight_hook():
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    module[1].weight.register_hook(lambda gradient: 2 * gradient)
    return module


def _one_memory():
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 192), nn.Linear(192, 192))
    module[2].weight.data = module[1].weight.data
    return module


def _new_buffer(network, y):
    if network.training:
        network.register_buffer("mean", y.mean(0).detach())
    return y


def _unset_buffer():
    module = Net(lambda network, y: setattr(network, "mean", y.mean(0).detach()) or y)
    module.register_buffer("mean", None)
    return module


def _drops_always(network, y):
    return network.dropout.train()(y)


def _teach(network, y):
    with torch.no_grad():
        network.teacher.bias.lerp_(y.mean(0), 0.1)
    return y


def _assigns_data(network, y):
    network.norm.running_mean.data = y.mean(0).detach()
    return y


_OUTSIDE = torch.zeros(16)


def _writes_outside(network, y):
    _OUTSIDE.add_(1)
    return y + _OUTSIDE


def _layer_hook():
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    module[1].register_full_backward_hook(lambda layer, given, out: given)
    return module


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Net(lambda _, y: Counting.apply(y)), r"class attribute Counting\.count"),
        (lambda: Net(lambda _, y: _counted(y)), "global 'STATE'"),
        (lambda: Net(lambda _, y: Old.apply(y)), r"forward\(\*inputs\) and setup_context"),
        (_weight_hook, r"layer '1' \(Linear\): its parameter 'weight' has a backward hook"),
        (_layer_hook, r"layer '1' \(Linear\): it has a backward hook"),
        (
            net(_drops_always, dropout=lambda: nn.Dropout(0.5)),
            "attribute 'training' of layer 'dropout'",
        ),
        (
            lambda: nn.Sequential(torch.compile(nn.Flatten())),
            r"layer '0' \(OptimizedModule\) is compiled already",
        ),
        (
            lambda: Net(lambda _, y: [torch.set_grad_enabled(False), y][1]),
            "changes .* grad mode",
        ),
        (_one_memory, r"'1\.weight' and '2\.weight' are two tensors in the same memory"),
        (lambda: Net(_new_buffer), "makes the buffer or parameter 'mean'"),
        (_unset_buffer, "makes the buffer or parameter 'mean'"),
        (
            net(_teach, teacher=lambda: nn.Linear(1, 16).requires_grad_(False)),
            "layer of Net writes to a weight in its forward pass",
        ),
        (
            net(_assigns_data, norm=lambda: nn.BatchNorm1d(16)),
            r"layer of Net assigns to \.data of a tensor .*copy into it",
        ),
        (net(_writes_outside), "layer of Net writes to .* or to a tensor outside of the network"),
    ],
)
def test_functions_and_hooks_that_are_not_pure_are_refused(make, message):
    with pytest.raises(ModelError, match=message):
        check(from_module(make), (3, 8, 8))


class Hooked(nn.Module):
    """A layer with a hook that is a method of the network."""

    def __init__(self, keeps):
        super().__init__()
        self.fc, self.keeps, self.seen = nn.Linear(192, 4), keeps, {}
        self.fc.register_forward_hook(self.doubled)

    def doubled(self, layer, inputs, output):
        if self.keeps:
            self.seen["fc"] = output
        return 2 * output

    def forward(self, x):
        return self.fc(x.flatten(1))


def test_a_hook_may_be_a_method_of_the_network():
    model = from_module(lambda: Hooked(False))
    params = model.init(random.key(0))
    logits, _ = model.apply(params, images())
    assert torch.equal(logits, to_module(model, params)(images()))
    with pytest.raises(ModelError, match="attribute 'seen' of layer of Hooked changes"):
        check(from_module(lambda: Hooked(True)), (3, 8, 8))


def test_a_recurrent_layer_keeps_no_weight_of_a_call():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(24, 4, 2, batch_first=True, dropout=0.5)

        def forward(self, x):
            return self.rnn(x.reshape(len(x), 8, 24))[0][:, -1]

    model = from_module(Recurrent)
    params = model.init(random.key(0))

    def forward(params, images, key):
        return model.apply(params, images, key=key, train=True)

    assert_pure(forward, params, images(), random.key(1))
    weak = weakref.ref(params.trainable["rnn.weight_ih_l0"])
    model.apply(params, images())
    del params
    assert weak() is None


class Slotted:
    __slots__ = ("n",)

    def __init__(self):
        self.n = 0


def _named():
    return _named.calls


_named.calls = 0
_SLOTTED, _COUNT, _VARIABLE = Slotted(), itertools.count(), contextvars.ContextVar("calls")


def _adds_to_the_slot(network, y):
    _SLOTTED.n += 1
    return y * _SLOTTED.n


def _adds_to_the_function(network, y):
    _named.calls += 1
    return y * _named.calls


def _adds_to_the_environment(network, y):
    os.environ["FNET_TEST_CALLS"] = os.environ.get("FNET_TEST_CALLS", "") + "1"
    return y * len(os.environ["FNET_TEST_CALLS"])


def _adds_to_the_context(network, y):
    _VARIABLE.set(_VARIABLE.get(0) + 1)
    return y * _VARIABLE.get()


def _counts(network, y):
    return y * next(_COUNT)


def _with(iterator, take=True):
    """Return a constructor of a network that closes over an iterator, and takes from it."""
    return net(lambda network, y: y * (next(iterator) if take else 1) if iterator else y)


_ITERATORS = {
    "range": lambda: iter(range(100)),
    "list": lambda: iter([1, 2, 3, 4, 5, 6, 7, 8]),
    "count": itertools.count,
    "cycle": lambda: itertools.cycle([1, 2, 3]),
    "chain": lambda: itertools.chain([1, 2, 3, 4], range(9)),
    "zip": lambda: map(sum, zip([1, 2, 3, 4], itertools.count(), strict=False)),
    "generator": lambda: (n for n in range(100)),
    "reversed": lambda: reversed(range(100)),
}


@pytest.mark.parametrize("kind", _ITERATORS)
def test_an_iterator_counts_as_state_only_where_it_is_taken_from(kind):
    with pytest.raises(ModelError, match=r"'iterator' .* changes in a forward pass|'function'"):
        check(from_module(_with(_ITERATORS[kind]())), (3, 8, 8))
    check(from_module(_with(_ITERATORS[kind](), take=False)), (3, 8, 8))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_adds_to_the_slot, "global '_SLOTTED'"),
        (_adds_to_the_function, "attribute 'calls' of function _named"),
        (_adds_to_the_environment, "os.environ"),
        (_adds_to_the_context, "global '_VARIABLE'"),
        (_counts, "global '_COUNT'"),
    ],
)
def test_counters_outside_a_network_are_refused(function, message, monkeypatch):
    monkeypatch.setenv("FNET_TEST_CALLS", "1")
    with pytest.raises(ModelError, match=f"{message}.*changes in a forward pass"):
        check(from_module(net(function)), (3, 8, 8))


# Python 3.12 says that 3.14 will not copy it.
@pytest.mark.filterwarnings("ignore:Pickle, copy, and deepcopy support:DeprecationWarning")
@pytest.mark.parametrize("make", [Slotted, itertools.count])
def test_counters_that_a_layer_holds_are_refused(make):
    def add(network, y):
        if isinstance(network.held, Slotted):
            network.held.n += 1
        else:
            next(network.held)
        return y

    with pytest.raises(ModelError, match=r"attribute 'held' .*changes in a forward pass"):
        check(from_module(net(add, held=make)), (3, 8, 8))


_HELD = python_random.Random(0)


@pytest.mark.parametrize(
    ("function", "source"),
    [
        (lambda _, y: y * np.random.default_rng().random(), "default_rng"),
        (lambda _, y: y * python_random.Random().random(), "Random"),
        (lambda _, y: y * python_random.SystemRandom().random(), "SystemRandom"),
        (lambda _, y: y * time.localtime().tm_sec, "localtime"),
        (lambda _, y: y * int(time.strftime("%S")), "strftime"),
    ],
)
def test_generators_without_a_seed_and_the_time_now_are_refused(function, source):
    with pytest.raises(ModelError, match=rf"calls [\w.]+\.{source} without a seed or a time"):
        check(from_module(net(function)), (3, 8, 8))


@pytest.mark.parametrize(
    "function",
    [
        lambda _, y: y * np.random.default_rng(3).random(),
        lambda _, y: y * python_random.Random(3).random(),
        lambda _, y: y * isinstance(_HELD, python_random.Random),
        lambda _, y: y * time.gmtime(0).tm_year,
        lambda _, y: y * int(time.strftime("%S", time.gmtime(0))),
    ],
)
def test_seeded_generators_and_given_times_are_no_clocks(function):
    assert check(from_module(net(function)), (3, 8, 8)) == 16


@pytest.mark.parametrize("entry", ["state_dict", "model", "net"])
def test_a_checkpoint_that_holds_the_weights_is_named(entry):
    model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 4)))
    params = model.init(random.key(0))
    checkpoint = {"epoch": 3, entry: to_module(model, params).state_dict()}
    with pytest.raises(ModelError, match=rf"give checkpoint\['{entry}'\]"):
        from_state_dict(params, checkpoint)
    _, report = from_state_dict(params, checkpoint, strict=False)
    assert f"give checkpoint['{entry}']" in str(report)
    _, report = from_state_dict(params, checkpoint[entry], strict=False)
    assert "give" not in str(report)
