"""`python -m recipes.bench`, as a user runs it."""

import json
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from fnet.data import Dataset
from fnet.optim import apply_updates
from fnet.run.splits import Splits
from recipes.bench import __main__ as bench
from recipes.bench.calibrate import gemm
from recipes.bench.flax_networks import NETWORKS
from recipes.bench.roster import candidates
from recipes.bench.torch_step import torch_optimizer

QUICK = ["--only", "net", "--repeats", "2", "--seconds", "0.05", "--no-compile", "--device", "cpu"]


def test_end_to_end(tmp_path, capsys, monkeypatch, image_folder):
    monkeypatch.setattr(bench, "gemm", partial(gemm, size=128, seconds=0.0))
    # One form of each: what the best is has a test of its own.
    monkeypatch.setattr(bench, "candidates", lambda name, work: candidates(name, work)[:1])
    monkeypatch.setenv("COLUMNS", "80")
    file = tmp_path / "bench.json"
    options = [*QUICK, "--data", str(image_folder), "--json", str(file), "--markdown"]
    options += ["--peers", "fnet", "eager"]
    assert bench.main(options) == 0
    printed = capsys.readouterr().out
    found = json.loads(file.read_text())
    assert found["environment"]["compiled"] is False
    assert found["gflops"]["best"]["fp32"] >= found["gflops"]["worst"]["fp32"] > 0
    (row,) = found["rows"]
    assert (row["network"], row["recipe"], row["batch_size"]) == ("net", "recipes.net", 4)
    assert row["contenders"].keys() == {"fnet", "eager"}
    for name, contender in row["contenders"].items():
        assert contender["error"] is None
        assert len(contender["attempts"]["train"]) == 2
        assert contender["peak_memory"] > 10 * 2**20
        assert f"{contender['set_up_seconds']:.1f} s" in printed
        assert name in printed
    assert row["contenders"]["fnet"]["images_per_second"].keys() == {"train", "eval"}
    assert "eager: 0 workers" in printed
    assert "times as fast as it trains" in printed
    assert "| network, batch | fnet | its evaluation | eager |" in printed
    assert "GFLOP/s in fp32" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--repeats", "0"], "--repeats must be at least 1"),
        (["--seconds", "0"], "--seconds must be a number above 0"),
        (["--seconds", "nan"], "--seconds must be a number above 0"),
        (["--device", "toaster"], "there is no device 'toaster'"),
        (["--data", "/nowhere"], "no data set '/nowhere'"),
        (["--json", "there.json"], "there.json exists and is not overwritten"),
        (["--json", "gone/new.json"], "there is no directory gone"),
        (
            ["--peers", "compiled", "--no-compile"],
            "compiled cannot take part: --no-compile was given",
        ),
        (["--peers", "fnet", "--only", "mynet", "--data", "{folder}"], "batches of 128"),
    ],
)
def test_a_mistake_gets_one_message(tmp_path, capsys, monkeypatch, image_folder, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.json").write_text("mine")
    assert bench.main([option.format(folder=image_folder) for option in options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert (tmp_path / "there.json").read_text() == "mine"


@pytest.mark.parametrize("option", ["--only", "--peers"])
def test_an_unknown_name_is_refused(option, capsys):
    with pytest.raises(SystemExit) as raised:
        bench.main([option, "toaster"])
    assert raised.value.code == 2
    assert "toaster" in capsys.readouterr().err


def test_without_jax_it_is_left_out_or_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(bench, "missing", lambda name: "jax: pip install it")
    assert bench.main(["--peers", "jax"]) == 2
    assert "jax cannot take part: jax: pip install it" in capsys.readouterr().err


def experiment_of(row):
    images = torch.zeros(1, dtype=torch.uint8).expand(1000, 3, 32, 32)
    dataset = Dataset(images, torch.zeros(1000, dtype=torch.int64), tuple("abcdefghij"), "zeros")
    return row.recipe.build(row.recipe.variants[row.variant], Splits(dataset, dataset))


@pytest.mark.parametrize("name", bench.ROWS)
def test_the_peers_train_as_the_recipe_does(name):
    row = bench.ROWS[name]
    experiment = experiment_of(row)
    assert (experiment.augment is not None) == row.augmented
    logits, labels = torch.linspace(-3, 2, 20).view(2, 10), torch.tensor([3, 9])
    torch.testing.assert_close(
        experiment.loss(logits, labels).mean(), F.cross_entropy(logits, labels)
    )
    weights = torch.linspace(-1, 1, 12).view(3, 4).requires_grad_()
    params = {"w": weights.detach().clone()}
    state = experiment.tx.init(params)
    optimizer = torch_optimizer(row.optimizer, [weights])
    for step in range(4):
        grads = {"w": torch.linspace(2, -1, 12).view(3, 4) * (step + 1)}
        updates, state = experiment.tx.update(grads, state, params)
        params = apply_updates(params, updates)
        weights.grad = grads["w"]
        optimizer.step()
    torch.testing.assert_close(params["w"], weights.detach())


def test_every_row_but_resnet50_has_a_flax_network():
    assert set(NETWORKS) == bench.ROWS.keys() - {"resnet50"}
