"""An experiment whose parts do not fit is refused before its run has a directory."""

from dataclasses import replace

import pytest
import torch

from fnet import optim, tree
from fnet.run import cli
from fnet.run.learning_rate import effective_rate, with_lr_scale
from fnet.run.recipe import Experiment
from recipes import net

SIGN = optim.stateless(lambda grads, params: tree.map(torch.sign, grads))


def by_size(path, leaf):
    return "kernels" if leaf.dim() == 4 else "rest"


def groups(rate, others):
    return optim.partition({"kernels": optim.sgd(rate), "rest": optim.sgd(others)}, by_size)


def unable(params):
    raise ValueError("this optimizer is for other networks")


WRONG = {
    "a name that is not there": (
        {"learning_rate": "muon/learning_rate"},
        "there is no hyper-parameter called 'muon/learning_rate'",
    ),
    "a name of several": (
        {"tx": groups(0.1, 0.2), "learning_rate": "learning_rate"},
        "several hyper-parameters are called 'learning_rate'",
    ),
    "no rate": ({"tx": SIGN}, "no 'learning_rate' to log, only no hyper-parameters"),
    "no scale": ({"learning_rate": "momentum"}, "there is no hyper-parameter"),
    "an optimizer that cannot begin": (
        {"tx": optim.GradientTransformation(unable, SIGN.update)},
        "for other networks",
    ),
    "a plateau that is a number": ({"plateau": 0.1}, "plateau is 0.1: give optim.plateau"),
}


@pytest.mark.parametrize("what", WRONG)
def test_parts_that_do_not_fit_are_refused_before_the_run_has_a_directory(
    what, tmp_path, image_folder, capsys
):
    changes, message = WRONG[what]
    recipe = replace(net.RECIPE, build=lambda *given: replace(net.build(*given), **changes))
    options = ["--variant", "author", "--data", str(image_folder)]
    options += ["--no-compile", "--out", str(tmp_path / "runs")]
    if what == "no scale":
        own = optim.chain(optim.trace(0.9), SIGN)
        recipe = replace(
            net.RECIPE, build=lambda *given: replace(net.build(*given), tx=own, **changes)
        )
    assert cli.main(recipe, options) == 2
    error = capsys.readouterr().err
    assert message in " ".join(error.split())
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()


def test_of_groups_the_first_rate_is_logged_and_a_plateau_scales_all():
    experiment = Experiment(None, groups(0.1, 0.2), None, None)  # type: ignore[arg-type]
    params = {"weight": torch.ones(2, 2, 1, 1), "bias": torch.ones(2)}
    state = experiment.tx.init(params)
    assert effective_rate(state, experiment.learning_rate) == pytest.approx(0.1)
    scaled = with_lr_scale(state, torch.tensor(0.5, dtype=torch.float64), experiment.learning_rate)
    assert effective_rate(scaled, experiment.learning_rate) == pytest.approx(0.05)
    assert [optim.get_hyper(scaled, f"{name}/lr_scale").item() for name in ("kernels", "rest")] == [
        0.5,
        0.5,
    ]
    named = replace(experiment, learning_rate="rest/learning_rate")
    assert effective_rate(scaled, named.learning_rate) == pytest.approx(0.1)
