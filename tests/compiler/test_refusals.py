"""What a compiled function refuses instead of computing something else."""

import copy

import numpy as np
import pytest
import torch
from graphs import traced
from torch import nn
from torch.autograd import forward_ad
from torch.func import grad

from fnet import random
from fnet.compiler import TraceError
from fnet.nn import from_module

X = torch.arange(3.0)
Z = torch.tensor([1 + 2j, 3 + 4j]).conj()


@pytest.mark.parametrize("lazy", [Z, Z.imag, Z.imag[:1], Z[0].imag, Z.view(2, 1).imag])
def test_a_lazy_conjugate_is_refused(lazy):
    compiled = traced(lambda x: x * 2)
    plain = torch.empty_strided(lazy.shape, lazy.stride(), dtype=lazy.dtype).fill_(3)
    for x in (lazy, plain, lazy):
        if x is plain:
            assert torch.equal(compiled(x), 2 * x)
            continue
        with pytest.raises(TypeError, match="among the arguments is a lazy conjugate"):
            compiled(x)
    with pytest.raises(TypeError, match=r"closes over is a lazy conjugate.*resolve_conj"):
        traced(lambda x: x * lazy)(plain)


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
def test_a_sparse_tensor_is_refused(layout):
    with pytest.raises(TypeError, match=r"dense tensors.*layout torch\.sparse"):
        traced(lambda x: x * 2)({"x": getattr(torch.eye(2), layout)()})


READS = [
    torch.Tensor.tolist,
    torch.Tensor.numpy,
    np.sin,
    np.asarray,
    lambda x: f"{x[0]:.2f}",
    lambda x: torch.tensor([x[0], 1.0]),
    lambda x: torch.as_tensor([[x[0]], [x[1]]]),
]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("which", ["argument", "closed over"])
def test_every_read_of_a_value_is_refused(read, which):
    weight = torch.ones(3)
    with pytest.raises(TraceError, match="data-dependent"):
        traced(lambda x: (read(x if which == "argument" else weight), x + 1)[1])(X)


@pytest.mark.parametrize("which", ["argument", "closed over"])
def test_a_deep_copy_is_refused(which):
    weight = torch.ones(3)
    with pytest.raises(TraceError, match=r"deepcopy.*clone"):
        traced(lambda x: copy.deepcopy(x if which == "argument" else weight))(X)


def test_numbers_still_make_tensors():
    table = np.ones(3, np.float32)
    compiled = traced(lambda x: x + torch.tensor([1.0, 2, 3]) + torch.as_tensor(table) + float("1"))
    assert torch.equal(compiled(X), X + torch.tensor([3.0, 4.0, 5.0]))
    assert traced(lambda x: f"{len(x)} {tuple(x.shape)}")(X) == "3 (3,)"


def test_a_caught_refusal_is_still_raised():
    def fn(x):
        try:
            return x + torch.rand(3)
        except RuntimeError:
            return x

    state = torch.random.get_rng_state()
    compiled = traced(fn)
    for _ in range(2):
        with pytest.raises(TraceError, match="global generator"):
            compiled(X)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_draw_from_an_own_generator_is_refused():
    generator = torch.Generator()
    with pytest.raises(TraceError, match=r"from a torch\.Generator"):
        traced(lambda x: x + torch.rand(3, generator=generator))(X)
    with pytest.raises(TraceError, match=r"from a torch\.Generator"):
        traced(lambda x, g: x.clone().normal_(generator=g))(X, generator)


class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer(4, 5, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0][:, -1]


def test_the_gradient_of_an_lstm_is_refused():
    # PyTorch's own error is of shapes: "output with shape ... doesn't match the broadcast shape".
    network = from_module(lambda: Recurrent(nn.LSTM), input_shape=(3, 4))
    params, x = network.init(random.key(0)), torch.ones(2, 3, 4)
    torch.testing.assert_close(traced(network.apply)(params, x), network.apply(params, x))

    def loss(trainable):
        return network.apply(params._replace(trainable=trainable), x, train=True)[0].sum()

    with pytest.raises(TraceError, match=r"cannot differentiate nn\.LSTM.*nn\.GRU"):
        traced(grad(loss))(params.trainable)


def test_a_branch_is_watched_as_the_function():
    def conditional(branch):
        return traced(lambda x: torch.cond(x.sum() > 0, branch, torch.cos, (x,)))

    kept = []
    with pytest.raises(TraceError, match="global generator"):
        conditional(lambda x: x + torch.rand(3))(X)
    with pytest.raises(TraceError, match="keeps a reference"):
        conditional(lambda x: (kept.append(x.sin()), x.sin())[1])(X)


def test_an_argument_that_outlives_the_trace_is_refused():
    kept = {}

    def fn(x, y):
        kept["y"] = y
        return x + y

    with pytest.raises(TraceError, match=r"keeps a reference to an argument.*'y'"):
        traced(fn)(X, X + 1)
    with pytest.raises(TraceError, match=r"keeps a reference to an argument.*'y'"):
        traced(fn)(X, X)


def test_backward_is_refused_and_stores_nothing():
    layer = torch.nn.Linear(3, 2)

    def fn(x):
        layer(x).sum().backward()
        return layer.weight.grad

    with pytest.raises(TraceError, match=r"backward\(\) stores gradients.*torch\.func\.grad"):
        traced(fn)(X)
    assert layer.weight.grad is None
    assert layer.bias.grad is None


@pytest.mark.filterwarnings("ignore:.*jit")
def test_a_dual_level_is_refused_as_other_transforms():
    double = traced(lambda x: 2 * x)
    double(X)
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="forward-mode AD"):
        double(forward_ad.make_dual(X, torch.ones(3)))
    assert torch.equal(double(X), 2 * X)


class MyError(Exception):
    pass


def test_the_cause_of_an_error_is_kept():
    cause = KeyError("fc")

    def caused(x):
        raise MyError("no fc") from cause

    def implicit(x):
        try:
            raise cause
        except KeyError:
            raise MyError("no fc")  # noqa: B904

    with pytest.raises(MyError) as caught:
        traced(caused)(X)
    assert caught.value.__cause__ is cause
    with pytest.raises(MyError) as caught:
        traced(implicit)(X)
    assert caught.value.__context__ is cause
    assert not caught.value.__suppress_context__


@pytest.mark.parametrize("run", [1, 2, 3])
def test_the_text_of_an_error_is_kept(run):
    runs = []

    def fn(x):
        runs.append(x.shape)
        if len(runs) == run:
            raise MyError("a batch of 8")
        return x + 1

    with pytest.raises(MyError) as caught:
        traced(fn)(X)
    assert caught.value.args == ("a batch of 8",)
