"""`python -m recipes.export`: each format predicts what the run predicts, also without fnet."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from fnet.data import NORM_HALF, PadResize, load, normalize
from fnet.data.resize import resize
from fnet.evaluation import make_forward
from fnet.run import cli
from fnet.run.export import FORMATS
from fnet.run.export.classifier import _PadResize
from fnet.run.opened import open_run
from recipes import cnn, export

pytestmark = pytest.mark.usefixtures("no_reports")


@pytest.fixture(scope="module")
def run(tmp_path_factory, image_folder):
    """A run of CNN, whose images are padded and resized, with trained statistics of batch norm."""
    out = tmp_path_factory.mktemp("runs")
    options = ["--variant", "smoke", "--data", str(image_folder), "--out", str(out)]
    assert cli.main(cnn.RECIPE, [*options, "--limit", "64", "--batch-size", "16"]) == 0
    return next(out.iterdir())


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The files of the run, by format."""
    folder = tmp_path_factory.mktemp("exported")
    files = {name: folder / f"cnn{kind.suffix}" for name, kind in FORMATS.items()}
    for name, file in files.items():
        assert export.main([str(run), "--format", name, "--out", str(file)]) == 0
    return files


def readme_blocks():
    """Return the Python blocks of the README on how an export is loaded."""
    text = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Weights in and out")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


SCRIPT = """
import sys, torch, warnings
warnings.simplefilter("ignore")
pixels, results = torch.load("images.pt"), []

def keep():
    results.append((torch.as_tensor(probabilities).detach(), classes))

images = pixels.numpy()
{0}
keep()
images = pixels
{1}
keep()
{2}
keep()
network = network.train()
for parameter in network.parameters():
    parameter.data.zero_()
{3}
probabilities = network.eval()((images / 255 - 0.5) / 0.5).softmax(-1)
keep()
torch.save(results, "found.pt")
assert not [name for name in sys.modules if name.split(".")[0] in ("fnet", "recipes")]
"""


def test_a_process_without_fnet_predicts_the_same_with_the_readmes_lines(
    exported, run, image_folder, tmp_path
):
    held = load(image_folder, split="test")
    torch.save(held.images.contiguous(), tmp_path / "images.pt")
    for name, file in exported.items():
        shutil.copy(file, tmp_path / f"model{FORMATS[name].suffix}")
    script = SCRIPT.format(*readme_blocks())
    subprocess.run([sys.executable, "-I", "-c", script], cwd=tmp_path, check=True, timeout=120)
    opened = open_run(run)
    # The programs contain the preprocessing of the run; the lines for the weights have another.
    whole = make_forward(opened.model, preprocess=opened.preprocess)
    plain = make_forward(opened.model, preprocess=NORM_HALF)
    results = torch.load(tmp_path / "found.pt")
    for (found, classes), forward in zip(results, (whole, whole, plain, plain), strict=True):
        with torch.no_grad():
            own = forward(opened.params, held.images).softmax(-1)
        assert tuple(classes) == opened.classes == held.classes
        torch.testing.assert_close(found, own, atol=1e-6, rtol=0)
        assert torch.equal(found.argmax(-1), own.argmax(-1))


@pytest.mark.parametrize("name", ["safetensors", "state-dict"])
def test_the_weights_are_those_of_the_ordinary_module(exported, run, name):
    if name == "state-dict":
        weights = torch.load(exported[name], weights_only=True)
    else:
        with safe_open(exported[name], "pt") as file:
            about = json.loads(file.metadata()["fnet"])["details"]
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        assert tuple(about["classes"]) == open_run(run).classes
        assert about["preprocess"] == {"padding": 4, "then": {"mean": [0.5], "std": [0.5]}}
    opened = open_run(run)
    module = opened.model.make().eval()
    module.load_state_dict(weights)
    images = torch.rand(2, 3, 32, 32)
    own, _ = opened.model.apply(opened.params, images)
    torch.testing.assert_close(module(images), own)


def test_an_existing_file_is_not_overwritten(run, exported, capsys):
    before = exported["state-dict"].read_bytes()
    options = ["--format", "state-dict", "--out", str(exported["state-dict"])]
    assert export.main([str(run), *options]) == 2
    assert "exists, and is not overwritten" in capsys.readouterr().err
    assert exported["state-dict"].read_bytes() == before


def test_the_run_directory_is_the_default_and_the_check_says_with_what(run, capsys, monkeypatch):
    assert export.main([str(run), "--format", "state-dict"]) == 0
    assert "Checked on 40 test images of drawings: all of the same" in capsys.readouterr().out
    (run / "model.pth").unlink()
    monkeypatch.setattr("fnet.run.export.check.at_hand", lambda *args, **options: False)
    assert export.main([str(run), "--format", "state-dict", "--images", "8"]) == 0
    assert "Checked on 8 random images, because drawings is not" in capsys.readouterr().out
    (run / "model.pth").unlink()


def test_a_file_that_predicts_something_else_is_not_kept(run, tmp_path, monkeypatch, capsys):
    def scaled(path, run, details):
        torch.save({k: 2 * v for k, v in run.model.make().state_dict().items()}, path)

    wrong = FORMATS["state-dict"].__class__(".pth", scaled, FORMATS["state-dict"].load)
    monkeypatch.setitem(FORMATS, "state-dict", wrong)
    out = tmp_path / "wrong.pth"
    assert export.main([str(run), "--format", "state-dict", "--out", str(out)]) == 2
    assert "predicts other probabilities" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_gets_one_message(run, tmp_path, capsys):
    out = tmp_path / "gone" / "model.pth"
    assert export.main([str(run), "--format", "state-dict", "--out", str(out)]) == 2
    assert f"cannot write {out}: No such file" in capsys.readouterr().err


def test_without_the_exporter_the_extra_is_named(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fnet.run.export.formats.find_spec", lambda name: None)
    out = tmp_path / "model.onnx"
    assert export.main([str(run), "--format", "onnx", "--out", str(out)]) == 2
    assert 'pip install "fnet[onnx]"' in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 40), (4, 9, 16)])
def test_the_exported_resize_has_the_same_pixels(shape):
    images = torch.randint(0, 256, (16, *shape), dtype=torch.uint8)
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    expected = resize(padded, shape[1:]).float()
    assert torch.equal(_PadResize(4, shape)(images), expected)


@pytest.mark.parametrize(
    "preprocess", [normalize(0.3, 0.7), PadResize(2, NORM_HALF), torch.Tensor.float]
)
def test_the_exported_preprocessing_has_the_same_numbers(preprocess):
    from fnet.run.export.classifier import _preprocess

    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(_preprocess(preprocess, (3, 16, 16))(images), preprocess(images))
