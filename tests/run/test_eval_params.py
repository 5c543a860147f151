"""What a run evaluates and keeps: averages, fresh statistics; and images that grow with it."""

import pytest
import torch
from kills import options
from records import read_lines
from safetensors.torch import load_file

from fnet import data, random
from fnet.data import steps_per_epoch
from fnet.data.resize import resize_dataset, scaled
from fnet.run import cli, epochs
from recipes import cnn, dainet7

pytestmark = pytest.mark.usefixtures("no_reports")


def run(folder, out, *more, recipe=cnn.RECIPE):
    assert cli.main(recipe, [*options(folder, epochs=2), *more, "--out", str(out)]) == 0
    (directory,) = out.iterdir()
    return directory


def weights(directory, name="final"):
    return load_file(directory / f"{name}.safetensors")


def test_statistics_are_taken_anew_for_what_is_evaluated_and_kept(image_folder, tmp_path):
    usual = run(image_folder, tmp_path / "usual")
    fresh = run(image_folder, tmp_path / "fresh", "--fresh-statistics", "3")
    for name, leaf in weights(usual).items():
        other = weights(fresh)[name]
        # Twelve steps with a momentum of 0.1 leave a quarter of what the statistics began with.
        same = name.rpartition(".")[2] not in ("running_mean", "running_var")
        assert leaf.equal(other) == same, name
    lines = [read_lines(directory / "metrics.jsonl") for directory in (usual, fresh)]
    for one, other in zip(*lines, strict=True):
        assert one["train_loss"] == other["train_loss"]
        assert one["test_loss"] != other["test_loss"]


def test_an_average_of_the_weights_is_kept(image_folder, tmp_path):
    usual = run(image_folder, tmp_path / "usual")
    averaged = run(image_folder, tmp_path / "averaged", "--average", "0.5")
    for one, other in zip(*(weights(d).values() for d in (usual, averaged)), strict=True):
        assert one.shape == other.shape
    assert not weights(usual)["0.weight"].equal(weights(averaged)["0.weight"])
    lines = [read_lines(directory / "metrics.jsonl") for directory in (usual, averaged)]
    assert [line["train_loss"] for line in lines[0]] == [line["train_loss"] for line in lines[1]]


def test_images_have_the_size_of_their_epoch(image_folder, tmp_path, monkeypatch):
    seen, fit = [], epochs.fit

    def watched(step, params, opt_state, key, dataset, **rest):
        seen.append(tuple(dataset.images.shape))
        return fit(step, params, opt_state, key, dataset, **rest)

    monkeypatch.setattr(epochs, "fit", watched)
    sizes = ["--sizes", "16", "24", "--epochs", "3"]
    run(image_folder, tmp_path / "long", *sizes, recipe=dainet7.RECIPE)
    assert [shape[1:] for shape in seen] == [(3, 16, 16), (3, 24, 24), (3, 32, 32)]
    assert len({steps_per_epoch(shape[0], 8) for shape in seen}) == 1
    seen.clear()
    run(image_folder, tmp_path / "short", "--sizes", "16", "24", recipe=dainet7.RECIPE)
    assert [shape[1:] for shape in seen] == [(3, 16, 16), (3, 32, 32)]


def test_a_size_that_no_network_takes_is_refused(image_folder, tmp_path, capsys):
    arguments = [*options(image_folder), "--sizes", "2", "--out", str(tmp_path)]
    assert cli.main(dainet7.RECIPE, arguments) == 2
    assert "error:" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_data_set_is_resized_as_its_images_are():
    drawn = data.shapes(random.key(0), 7)
    smaller = resize_dataset(drawn, 20)
    assert smaller.images.equal(data.resize(drawn.images, (20, 20)))
    assert smaller.images.is_contiguous(memory_format=torch.channels_last) == (
        drawn.images.is_contiguous(memory_format=torch.channels_last)
    )
    assert smaller.labels.equal(drawn.labels)
    assert resize_dataset(drawn, 32) is drawn
    assert scaled((40, 30), 15) == (20, 15)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        scaled((40, 30), 0)
