"""`check_step` runs the laws that apply, reports the skipped ones, and collects failures."""

import pytest
import torch
from graphs import traced
from networks import batch, plain

from fnet import optim, random
from fnet.compiler import compile
from fnet.data import NORM_HALF, random_flip
from fnet.losses import cross_entropy
from fnet.nn import Params
from fnet.step import make_grad, make_step
from fnet.testing import check_step

LAWS = (
    "pure keeps_structure depends_on_key compiles_once compiled_agrees vmap_agrees accumulates "
    "resumes"
)
LAWS = [name.replace("_", " ") for name in LAWS.split()]


PARAMS = Params({"w": torch.ones(2)}, {"mean": torch.zeros(())})
ROWS = [{"x": torch.ones(2), "key": random.key(n)} for n in range(2)]


def steady(params, opt_state, batch):
    """A step that draws nothing."""
    moved = {"w": params.trainable["w"] + batch["x"]}
    return Params(moved, params.stats), opt_state, {"count": batch["x"].sum()}


def drawn(params, opt_state, batch):
    moved = {"w": params.trainable["w"] + random.uniform(batch["key"], (2,))}
    return Params(moved, params.stats), opt_state, {}


def test_every_law_of_a_step_of_fnets_holds():
    lines = []
    model, tx = plain(), optim.adam(1e-2)
    grad_fn = make_grad(model, cross_entropy, preprocess=NORM_HALF, augment=random_flip())
    params = model.init(random.key(0))
    args = make_step(grad_fn, tx), params, tx.init(params.trainable), [batch(0), batch(1)]
    done = check_step(*args, grad_fn=grad_fn, draws=True, compile=traced, show=lines.append)
    assert [*done.held] == LAWS
    assert not done.left_out
    assert lines == [f"{law}: holds" for law in LAWS]


def test_running_statistics_leave_the_sum_over_micro_batches_out():
    def grad_fn(params, batch):
        return params.trainable, {"mean": batch["x"].mean()}, {}

    done = check_step(steady, PARAMS, {}, ROWS, grad_fn=grad_fn, compile=None)
    assert done.left_out == {
        "depends on key": "the step draws nothing (draws=True makes that a failure)",
        "compiled agrees": "compile=None",
        "accumulates": "the network has running statistics, which need the whole batch",
    }


def test_a_compiled_step_and_a_single_batch_leave_laws_out(capsys):
    done = check_step(compile(steady), PARAMS, {}, ROWS[:1])
    assert done.held == ("pure", "keeps structure", "compiles once")
    assert done.left_out["compiled agrees"].startswith("the step is compiled")
    assert done.left_out["vmap agrees"].startswith("the step is compiled")
    printed = capsys.readouterr().out
    assert "pure: holds" in printed
    assert "resumes: left out: it needs two batches" in printed
    done = check_step(torch.compile(drawn, backend="eager"), PARAMS, {}, ROWS, compile=None)
    assert done.left_out.keys() == {"vmap agrees", "accumulates"}


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


def test_what_vmap_cannot_run_is_left_out():
    def step(params, opt_state, batch):
        leaf = params["w"].detach().requires_grad_()
        (grad,) = torch.autograd.grad((leaf * batch["x"]).sum(), leaf)
        return {"w": params["w"] - grad}, opt_state, {}

    done = check_step(step, {"w": torch.ones(2)}, {}, ROWS, compile=None)
    assert "vmap(step) raises RuntimeError" in done.left_out["vmap agrees"]
    assert "resumes" in done.held

    def differs(params, opt_state, batch):
        mapped = torch._C._functorch.maybe_get_level(params["w"]) > 0
        return {"w": params["w"] + (1.0 if mapped else 0.0)}, opt_state, {}

    with pytest.raises(AssertionError, match=r"vmap agrees: vmap.step. differs"):
        check_step(differs, {"w": torch.ones(2)}, {}, ROWS, compile=None)


def test_draws_may_be_asked_for_or_ruled_out():
    for step, draws in ((steady, True), (drawn, False)):
        with pytest.raises(AssertionError, match=r"depends on key: the step (ignores|depends on)"):
            check_step(step, PARAMS, {}, ROWS, draws=draws, compile=None)
    with pytest.raises(ValueError, match="batches is empty"):
        check_step(steady, PARAMS, {}, [])
