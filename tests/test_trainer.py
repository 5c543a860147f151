"""What a trainer does with what only some recipes have."""

import math
from dataclasses import replace

import pytest
import torch
from kills import options
from records import read_lines
from safetensors.torch import load_file

from fnet import cli, tree
from recipes import net


@pytest.mark.usefixtures("no_reports")
def test_the_params_that_a_recipe_evaluates_are_those_that_are_kept(image_folder, tmp_path):
    def zeros(params, opt_state):
        return params._replace(trainable=tree.map(torch.zeros_like, params.trainable))

    def build(config, splits):
        return replace(net.build(config, splits), eval_params=zeros)

    recipe = replace(net.RECIPE, build=build)
    assert cli.main(recipe, [*options(image_folder, epochs=1), "--out", str(tmp_path)]) == 0
    (directory,) = tmp_path.iterdir()
    (line,) = read_lines(directory / "metrics.jsonl")
    # To a network of zeros each of the ten classes is as probable as the others.
    assert line["test_loss"] == pytest.approx(math.log(10))
    for name in ("best", "final"):
        assert not any(leaf.any() for leaf in load_file(directory / f"{name}.safetensors").values())
