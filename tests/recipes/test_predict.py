"""`python -m recipes.predict`, as a user runs it."""

import csv
import errno
import json
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from records import edit_config
from safetensors.torch import load_file, save_file
from servers import serve

from fnet.data import load
from fnet.data.dataset import rows
from fnet.run.opened import open_run
from recipes import predict

ROOT = Path(__file__).parent.parent.parent


def predictions(capsys, *args):
    assert predict.main([*map(str, args), "--json", "--device", "cpu"]) == 0
    return json.loads(capsys.readouterr().out)["predictions"]


@pytest.fixture(scope="module")
def picture(image_folder):
    return sorted(image_folder.glob("test/*/*.png"))[0]


@pytest.fixture(scope="module")
def server(picture):
    with serve(picture.read_bytes()) as address:
        yield address


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff"])
@pytest.mark.parametrize("weights", ["best", "final"])
def test_predictions_are_those_of_apply_bit_for_bit(
    trained_run, image_folder, tmp_path, capsys, kind, weights
):
    held, run = load(image_folder, split="test"), open_run(trained_run, weights)
    for place, file in enumerate(sorted(image_folder.glob("test/*/*.png"))[:3]):
        image = tmp_path / f"{place}.{kind}"
        Image.open(file).save(image)
        found = predictions(capsys, trained_run, image, "--weights", weights)[0]
        batch = run.preprocess(rows(held.images, torch.tensor([place])))
        logits, _ = run.model.apply(run.params, batch)
        expected = dict(zip(run.classes, logits[0].softmax(-1).tolist(), strict=True))
        assert found["probabilities"] == expected
        assert found["class"] == max(expected, key=expected.get)


def test_other_images_change_nothing(trained_run, picture, capsys):
    alone = predictions(capsys, trained_run, picture)
    folder = predictions(capsys, trained_run, picture.parent)
    assert [Path(one["image"]) for one in folder] == sorted(picture.parent.iterdir())
    assert folder[0] == alone[0]


def test_an_address_is_what_the_file_is(trained_run, picture, server, capsys):
    from_file, from_address = predictions(capsys, trained_run, picture, f"{server}/hops/2")
    assert from_address["probabilities"] == from_file["probabilities"]


def test_the_table_shows_all_classes_or_the_top_ones(trained_run, picture, capsys):
    ranked = list(predictions(capsys, trained_run, picture)[0]["probabilities"].items())
    assert len(ranked) == 10
    assert [p for _, p in ranked] == sorted((p for _, p in ranked), reverse=True)
    assert predict.main([str(trained_run), str(picture), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert str(picture) in printed
    places = [printed.index(f" {name} ") for name, _ in ranked]
    assert places == sorted(places)
    assert f"{ranked[0][1]:.2%}" in printed
    assert predict.main([str(trained_run), str(picture), "--device", "cpu", "--top", "2"]) == 0
    printed = capsys.readouterr().out
    assert f" {ranked[1][0]} " in printed
    assert f" {ranked[2][0]} " not in printed


def test_an_image_of_another_kind_and_size_is_classified(trained_run, tmp_path, capsys):
    Image.new("CMYK", (300, 100), (9, 99, 199, 0)).save(tmp_path / "wide.jpg")
    assert sum(predictions(capsys, trained_run, tmp_path)[0]["probabilities"].values()) == (
        pytest.approx(1.0)
    )


def nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def folders(tmp_path):
    (tmp_path / "of/folders/cat").mkdir(parents=True)
    return tmp_path / "of/folders"


def text(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    return tmp_path / "text.png"


BAD_IMAGES = {
    "a text": (text, "text.png is not an image"),
    "an empty folder": (nothing, "empty contains no image"),
    "a folder of folders": (folders, "of/folders/*"),
    "no file": (lambda t: t / "gone.png", "there is no image"),
    "a name too long": (lambda t: t / ("x" * 300), "there is no image"),
    "no name": (lambda t: "", "the name of an image is empty"),
    "a text at an address": ("/text", "/text is not an image"),
    "a hanging address": ("/hang", "/hang was not downloaded within the limit of 0.5 s"),
    "a dripping address": ("/drip/body", "/drip/body was not downloaded within the limit of 0.5 s"),
    "an endless address": ("/endless", "/endless sends more than the limit of 20 MB"),
    "a redirect to a file": (
        "/to/file:///etc/passwd",
        "redirects to 'file:///etc/passwd', which is not an http or https URL",
    ),
    "a missing page": ("/gone", "the server answers 404"),
    "a file address": ("file:///etc/passwd", "is not an http or https URL"),
}


@pytest.mark.parametrize("problem", BAD_IMAGES)
def test_a_bad_image_gets_one_message(trained_run, picture, tmp_path, capsys, server, problem):
    make, message = BAD_IMAGES[problem]
    given = make(tmp_path) if callable(make) else server + make if make[0] == "/" else make
    options = ["--timeout", "0.5"] if "was not downloaded" in message else []
    assert predict.main([str(trained_run), str(picture), str(given), *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""


def test_a_folder_that_cannot_be_read_gets_one_message(trained_run, tmp_path, monkeypatch, capsys):
    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert predict.main([str(trained_run), str(tmp_path)]) == 2
    expected = f"error: the folder {tmp_path} cannot be read: Permission denied\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        (shutil.rmtree, [], "there is no run"),
        (lambda r: (r / "best.safetensors").unlink(), [], "give --weights final"),
        (lambda r: [f.unlink() for f in r.glob("*.saf*")], [], "before the first were saved"),
        (None, ["--top", "0"], "--top must be at least 1"),
        (None, ["--timeout", "0"], "--timeout must be above 0"),
        (None, ["--timeout", "inf"], "--timeout must be above 0"),
        (None, ["--timeout", "1e300"], "--timeout must be above 0"),
        (None, ["--timeout", "nan"], "--timeout must be above 0"),
    ],
)
def test_a_bad_run_or_option_gets_one_message(
    trained_run, picture, tmp_path, capsys, prepare, options, message
):
    run = shutil.copytree(trained_run, tmp_path / "run")
    if prepare:
        prepare(run)
    assert predict.main([str(run), str(picture), *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_no_image_is_a_mistake(trained_run, capsys):
    assert predict.main([str(trained_run)]) == 2
    assert "give at least one image" in capsys.readouterr().err


def test_an_endless_address_ends_the_process_too(trained_run, server):
    """No thread or connection that is left behind holds it up."""
    command = [sys.executable, "-m", "recipes.predict", str(trained_run), f"{server}/hang"]
    done = subprocess.run(
        [*command, "--timeout", "0.5"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_folder_goes_on_after_a_file_that_cannot_be_read(trained_run, picture, tmp_path, capsys):
    for place in (1, 3):
        shutil.copy(picture, tmp_path / f"{place}.png")
    (tmp_path / "2.png").write_bytes(picture.read_bytes()[:99])
    assert predict.main([str(trained_run), str(tmp_path), "--json", "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert [Path(one["image"]).name for one in found["predictions"]] == ["1.png", "3.png"]
    assert list(found["unreadable"]) == [str(tmp_path / "2.png")]
    assert f"left out: {tmp_path / '2.png'} is not an image" in captured.err
    assert "1 of 3 images were not read" in captured.err


def test_standard_input_lists_images(trained_run, picture, server, tmp_path, capsys, monkeypatch):
    shutil.copy(picture, tmp_path / "a b.png")
    lines = [picture, "", tmp_path, f"{server}/hops/1", tmp_path / "gone.png", "/no/folder/"]
    monkeypatch.setattr("sys.stdin", StringIO("".join(f"{line}\n" for line in lines)))
    assert predict.main([str(trained_run), "-", "--json", "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    names = [one["image"] for one in json.loads(captured.out)["predictions"]]
    assert names == [str(picture), str(tmp_path / "a b.png"), f"{server}/hops/1"]
    assert captured.err.count("there is no image") == 2


def test_csv_is_written_and_never_overwritten(trained_run, picture, tmp_path, capsys):
    file = tmp_path / "found.csv"
    command = [str(trained_run), str(picture.parent), "--csv", str(file), "--device", "cpu"]
    assert predict.main(command) == 0
    printed = capsys.readouterr().out
    assert "4 images on cpu in " in printed
    assert " images/s" in printed
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    for row, one in zip(rows, predictions(capsys, trained_run, picture.parent), strict=True):
        assert (row["image"], row["class"]) == (one["image"], one["class"])
        for name, value in one["probabilities"].items():
            assert float(row[f"p({name})"]) == value
        assert float(row["probability"]) == max(one["probabilities"].values())
    before = file.read_bytes()
    assert predict.main(command) == 2
    assert f"{file} exists, and is not overwritten" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert predict.main([*command[:-1], "cpu", "--csv", str(tmp_path / "gone" / "f.csv")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_several_runs_are_averaged(trained_run, picture, tmp_path, capsys):
    other = shutil.copytree(trained_run, tmp_path / "other")
    weights = load_file(other / "best.safetensors")
    save_file({name: 1.5 * leaf for name, leaf in weights.items()}, other / "best.safetensors")
    each = [predictions(capsys, run, picture)[0]["probabilities"] for run in (trained_run, other)]
    assert each[0] != each[1]
    both = predictions(capsys, trained_run, other, picture)[0]["probabilities"]
    for name, value in both.items():
        assert value == pytest.approx((each[0][name] + each[1][name]) / 2, abs=1e-7)


def test_runs_that_fit_images_in_other_ways_are_not_averaged(
    trained_run, picture, tmp_path, capsys
):
    runs = [shutil.copytree(trained_run, tmp_path / fit) for fit in ("crop", "pad")]
    for run in runs:
        edit_config(run, size="32", fit=run.name)
    assert predict.main([*map(str, runs), str(picture)]) == 2
    assert f"{runs[1]} with --fit pad: only runs with the same" in capsys.readouterr().err
