import re
from pathlib import Path

import pytest
import torch

from fnet import ensemble, optim, random, tree
from fnet.nn import to_module
from fnet.run import cli
from recipes.__main__ import modules

BY_HAND = Path(__file__).parent.parent / "recipes" / "by_hand.py"
README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_script_runs_as_it_stands_in_at_most_25_lines(monkeypatch, capsys):
    script = blocks("python")[0]
    assert len([line for line in script.splitlines() if line.strip()]) <= 25
    # Compiling is tested elsewhere, and takes longer than all of this.
    monkeypatch.setattr("fnet.compiler.compile", lambda fn: fn)
    names: dict = {}
    exec(compile(script, "README.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == names["epochs"] == 3
    assert all("accuracy" in line for line in lines)
    assert names["record"].step == 300
    assert names["metrics"].means(names["sums"])["accuracy"] >= 0.9


def test_the_script_is_a_file():
    assert blocks("python")[0] == BY_HAND.read_text(encoding="utf-8")


def test_the_impure_step_is_caught_as_it_says():
    script, _, message = blocks("python")[4].partition("# AssertionError: ")
    with pytest.raises(AssertionError, match=re.escape(message.strip())):
        exec(compile(script, "README.md", "exec"), {})


def test_several_models_are_trained_by_one_step(monkeypatch, capsys):
    monkeypatch.setitem(ensemble.train_many.__kwdefaults__, "compile", lambda step: step)
    names: dict = {}
    exec(compile(blocks("python")[5], "README.md", "exec"), names)
    assert capsys.readouterr().out.count("accuracy") == 3
    tree.assert_equal(names["best"], ensemble.members(names["record"].params)[2])


def test_the_network_of_ones_own_trains_and_exports():
    names: dict = {}
    exec(compile(blocks("python")[1], "README.md", "exec"), names)
    model = names["tiny"](classes=5)
    params = model.init(random.key(0))
    images = random.uniform(random.key(1), (2, 3, 8, 8))
    logits, stats = model.apply(params, images, train=True)
    assert logits.shape == (2, 5)
    assert stats.keys() == params.stats.keys()
    expected, _ = model.apply(params, images)
    torch.testing.assert_close(to_module(model, params)(images), expected)


def test_the_optimizer_of_ones_own_goes_downhill():
    names: dict = {}
    exec(compile(blocks("python")[2], "README.md", "exec"), names)
    params = {"w": torch.tensor([1.0, -3.0])}
    tx = names["sign_descent"](0.5)
    updates, _ = tx.update(params, tx.init(params), params)
    assert optim.apply_updates(params, updates)["w"].tolist() == [0.5, -2.5]


def test_the_recipe_of_ones_own_trains(tmp_path, no_reports):
    names: dict = {"__name__": "tiny"}
    exec(compile(blocks("python")[3], "README.md", "exec"), names)
    options = ["--data", "shapes", "--limit", "64", "--batch-size", "32", "--epochs", "1"]
    assert cli.main(names["RECIPE"], [*options, "--no-compile", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "tiny-default-s0" / "result.json").exists()


def test_the_commands_are_there():
    for name in set(re.findall(r"python -m recipes\.(\w+)", README)) - {"tiny"}:
        assert name in modules()


def test_the_ci_runs_the_test_command():
    command = blocks("sh")[1].rpartition("&& ")[2].strip()
    assert command in (Path(__file__).parent.parent / ".ci/run").read_text(encoding="utf-8")
