"""`check_step` runs what applies, says what it left out and why, and collects what fails."""

import pytest
import torch
from graphs import traced
from networks import batch, full, plain

from fnet import optim, random
from fnet.data import NORM_HALF
from fnet.losses import cross_entropy
from fnet.step import compile, make_grad, make_step
from fnet.testing import check_step

LAWS = (
    "pure keeps_structure depends_on_key compiles_once compiled_agrees vmap_agrees accumulates "
    "resumes"
)
LAWS = [name.replace("_", " ") for name in LAWS.split()]


def parts(model):
    tx = optim.adam(1e-2)
    grad_fn = make_grad(model, cross_entropy, preprocess=NORM_HALF)
    params = model.init(random.key(0))
    return grad_fn, (make_step(grad_fn, tx), params, tx.init(params.trainable))


def test_every_law_of_fnets_steps_holds():
    lines = []
    rows = [batch(0), batch(1)]
    grad_fn, args = parts(plain())
    done = check_step(*args, rows, grad_fn=grad_fn, compile=traced, show=lines.append)
    assert done.left_out.keys() == {"depends on key"}
    assert [line.partition(":")[0] for line in lines] == LAWS
    grad_fn, args = parts(full())
    done = check_step(*args, rows, grad_fn=grad_fn, draws=True, compile=traced, show=lines.append)
    assert done.left_out == {
        "accumulates": "the network has running statistics, which see a whole batch"
    }
    assert [*done.held] == [law for law in LAWS if law != "accumulates"]


def test_a_compiled_step_and_a_single_batch_leave_laws_out(capsys):
    _, (step, params, state) = parts(plain())
    done = check_step(compile(step), params, state, [batch(0)], compile=None)
    assert done.left_out.keys() == {
        "depends on key",
        "compiled agrees",
        "vmap agrees",
        "accumulates",
        "resumes",
    }
    printed = capsys.readouterr().out
    assert "pure: holds" in printed
    assert "resumes: left out: it takes two batches" in printed

    def own(params, opt_state, batch):
        return {"w": params["w"] + batch["x"]}, opt_state, {}

    rows = [{"x": torch.ones(2)}] * 2
    compiled = torch.compile(own, backend="eager")
    done = check_step(compiled, {"w": torch.ones(2)}, {}, rows, compile=None)
    assert done.held == ("pure", "keeps structure", "compiles once", "compiled agrees", "resumes")


def test_all_that_fails_is_told_at_the_end_and_arguments_stay(capsys):
    def step(params, opt_state, batch):
        params["w"].add_(torch.rand(2))
        return {"w": params["w"].double()}, opt_state, {}

    params = {"w": torch.ones(2)}
    with pytest.raises(AssertionError) as caught:
        check_step(step, params, {}, [{"x": torch.ones(2)}] * 2, compile=None)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("pure: ")
    assert lines[1].startswith("keeps structure: the step changes the layout: 'params/w': dtype")
    assert any(line.startswith("resumes: ") for line in lines)
    assert params["w"].tolist() == [1.0, 1.0]
    assert "pure: FAILS: " in capsys.readouterr().out


def test_draws_may_be_asked_for_or_ruled_out():
    rows = [batch(0), batch(1)]
    for model, draws in ((plain(), True), (full(), False)):
        with pytest.raises(AssertionError, match="depends on key: the step (ignores|depends on)"):
            check_step(*parts(model)[1], rows, draws=draws, compile=None)
    with pytest.raises(ValueError, match="there are none"):
        check_step(*parts(plain())[1], [])
