"""A step as one CUDA graph: everything except the capture itself is tested without a GPU."""

import pytest
import torch
from networks import batch, full

from fnet import optim, random, tree
from fnet.compiler import compile
from fnet.compiler import cuda_graph as module
from fnet.compiler.cuda_graph import cuda_graph
from fnet.losses import cross_entropy
from fnet.step import make_grad, make_step

TX = optim.adam(0.01)
STEP = make_step(
    make_grad(full(), cross_entropy, preprocess=lambda images: images.to(torch.float32) / 255), TX
)


def state(device="cpu"):
    params = full().init(random.key(0))
    return tree.map(lambda leaf: leaf.to(device), (params, TX.init(params.trainable)))


def calls(step, first, batches):
    """Return the results of all calls, and a copy of each, made directly after the call."""
    results, copies = [], []
    now = first
    for one in batches:
        *now, sums = step(*now, one)
        results.append((*now, sums))
        copies.append(tree.map(torch.clone, results[-1]))
    return results, copies


@pytest.fixture
def captures(monkeypatch):
    """Patch capture to run the function, and replay to run it again; return a list of devices."""
    found = []

    def capture(run, devices):
        run()
        found.append(devices)
        return run

    monkeypatch.setattr(module, "_capture", capture)
    return found


def test_it_is_the_step_and_as_pure(captures):
    first = state()
    before = tree.map(torch.clone, first)
    results, copies = calls(cuda_graph(STEP), first, [batch(0), batch(1), batch(2)])
    expected, _ = calls(STEP, state(), [batch(0), batch(1), batch(2)])
    tree.assert_equal(results, expected)
    tree.assert_equal(results, copies)
    tree.assert_equal(first, before)
    for result, one in zip(results, expected, strict=True):
        assert tree.first_layout_difference(result, one) is None
        assert [type(part) for part in result] == [type(part) for part in one]
    assert len(captures) == 1


def test_it_captures_again_what_has_another_shape(captures):
    step = cuda_graph(STEP)
    for size in (8, 4, 8, 4):
        tree.assert_equal(step(*state(), batch(0, size)), STEP(*state(), batch(0, size)))
    assert len(captures) == 2


def test_tensors_elsewhere_are_refused():
    with pytest.raises(ValueError, match=r"an argument is on cpu: leave cuda_graph out"):
        cuda_graph(STEP)(*state(), batch(0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_captured_step_is_the_compiled_step():
    batches = [batch(seed) for seed in range(3)]
    batches = [tree.map(lambda leaf: leaf.to("cuda"), one) for one in batches]
    results, copies = calls(cuda_graph(compile(STEP)), state("cuda"), batches)
    expected, _ = calls(compile(STEP), state("cuda"), batches)
    tree.assert_close(results, expected)
    tree.assert_equal(results, copies)
