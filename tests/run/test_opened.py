"""A run that is opened is the run that was trained; what is no run is refused, by its name."""

import json
import shutil
import sys
from dataclasses import asdict, dataclass, replace

import pytest
import torch
from records import edit, read

from fnet import random, tree
from fnet.data import NORM_CIFAR10, NORM_HALF, Normalize, PadResize
from fnet.run import cli
from fnet.run.config import ConfigError
from fnet.run.opened import open_run
from fnet.run.schema import config_from_json
from recipes import dainet7


@pytest.fixture
def copy(trained_run, tmp_path):
    """A run that may be damaged."""
    return shutil.copytree(trained_run, tmp_path / "run")


def change(run, **entries):
    edit(run / "config.json", **entries)


def config_of(run):
    return read(run / "config.json")["config"]


def test_a_run_opens_without_its_data(copy):
    change(copy, data="gone")
    run = open_run(copy)
    assert run.recipe is dainet7.RECIPE
    assert json.loads(json.dumps(asdict(run.config))) == config_of(copy)
    assert isinstance(run.config, dainet7.Config)
    assert (run.weights, run.data, run.path) == ("best", "gone", copy)
    assert (len(run.classes), run.classes[0], run.input_shape) == (10, "bar", (3, 32, 32))
    recorded = read(copy / "config.json")["preprocess"]
    assert run.preprocess == Normalize(tuple(recorded["mean"]), tuple(recorded["std"]))
    assert run.preprocess != NORM_CIFAR10, "the statistics of the folder"


def test_the_weights_are_the_asked_for_ones(copy):
    best = open_run(copy).params
    tree.assert_equal(best, open_run(copy).params)
    (copy / "final.safetensors").unlink()
    assert open_run(str(copy), "best").weights == "best"
    with pytest.raises(ConfigError, match=r"no final weights, but best weights: .*--weights b"):
        open_run(copy, "final")
    logits, _ = open_run(copy).model.apply(best, torch.zeros(2, 3, 32, 32))
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("preprocess", [NORM_HALF, PadResize(4, NORM_HALF)])
def test_the_preprocess_is_the_recorded_one(copy, preprocess):
    change(copy, preprocess=json.loads(json.dumps(asdict(preprocess))))
    assert open_run(copy).preprocess == preprocess


@dataclass(frozen=True)
class Halved:
    """A preprocess of a user's own."""

    by: tuple[float, ...]

    def __call__(self, images):
        return images / self.by[0]


def test_the_preprocess_may_be_of_a_class_of_the_users_own(copy, monkeypatch):
    def build(config, splits):
        return replace(dainet7.build(config, splits), preprocess=Halved((2.0,)))

    monkeypatch.setattr(dainet7, "RECIPE", replace(dainet7.RECIPE, build=build))
    change(copy, preprocess={"by": [2.0]})
    assert open_run(copy).preprocess == Halved((2.0,))
    change(copy, preprocess={"by": [4.0]})
    with pytest.raises(ConfigError, match="nor that of the recipe"):
        open_run(copy)


def test_opening_leaves_the_global_random_state_alone(trained_run):
    before = torch.get_rng_state()
    open_run(trained_run)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("variant", dainet7.VARIANTS)
def test_configs_survive_json(variant):
    config = dainet7.VARIANTS[variant]
    assert config_from_json(type(config), json.loads(json.dumps(asdict(config)))) == config


def edited_by_hand(run):
    file = run / "config.json"
    file.write_text(file.read_text().replace("smoke", "default"))


def relink(file, target):
    file.unlink()
    file.symlink_to(target)


def without(name):
    return {k: v for k, v in asdict(dainet7.Config()).items() if k != name}


PROBLEMS = {
    "no run": (shutil.rmtree, "there is no run"),
    "another folder": (
        lambda r: (r / "config.json").unlink(),
        "not a run directory, it has no config.json",
    ),
    "cut short": (lambda r: (r / "config.json").write_text('{"recipe": "re'), "is damaged"),
    "binary": (lambda r: (r / "config.json").write_bytes(b"\xff\xfe\0"), "is damaged"),
    "a list": (
        lambda r: (r / "config.json").write_text("[]"),
        r"is damaged \(it is not a JSON object\)",
    ),
    "nested": (lambda r: (r / "config.json").write_text("[" * 100_000), "is damaged"),
    "no checksum": (lambda r: (r / "config.json").write_text("{}"), "it has no checksum"),
    "edited": (
        edited_by_hand,
        r"its checksum is wrong\), so the run .*: restore the file from a backup",
    ),
    "no recipe": (
        lambda r: change(r, recipe=None),
        "config.json has None for 'recipe', not a text: it was written by another version",
    ),
    "no shape": (
        lambda r: change(r, input_shape=None),
        "config.json has None for 'input_shape', not a list",
    ),
    "two sizes": (
        lambda r: change(r, input_shape=[32, 32]),
        r"has \[32, 32\] for 'input_shape', not a list of 3",
    ),
    "no images": (
        lambda r: change(r, train_images=0),
        "has 0 for 'train_images', which is not possible",
    ),
    "an image beyond all memory": (
        lambda r: change(r, input_shape=[10**30] * 3),
        "has 1000000000000000000000000000000 for 'input_shape', not an integer",
    ),
    "an image larger than any": (
        lambda r: change(r, input_shape=[3, 2**16, 2**16]),
        r"has \(3, 65536, 65536\) for 'input_shape', which is not possible",
    ),
    "no classes": (
        lambda r: change(r, classes=[]),
        r"has \(\) for 'classes', which is not possible",
    ),
    "an unknown entry": (lambda r: change(r, lr=1), "config.json has 'lr', which this version"),
    "fewer images": (lambda r: change(r, train_images=5), "cannot build .* batch size of 32"),
    "other classes": (
        lambda r: change(r, classes=["a", "b"]),
        r"best weights .* cannot be used: these weights are not this model's",
    ),
    "preprocess": (
        lambda r: change(r, preprocess={"mu": [1]}),
        "preprocess that is neither one of fnet",
    ),
    "unknown option": (lambda r: change(r, config={**without(""), "x": 1}), "config has 'x'"),
    "a text for a number": (
        lambda r: change(r, config={**without(""), "epochs": "3"}),
        "has '3' for 'epochs', not an integer: the run is from another version",
    ),
    "unknown choice": (
        lambda r: change(r, config={**without(""), "optimizer": "lion"}),
        "has 'lion' for 'optimizer', not one of 'muon'",
    ),
    "no weights": (
        lambda r: [file.unlink() for file in r.glob("*.safetensors")],
        "has no weights: it was stopped before the first were saved",
    ),
    "broken weights": (
        lambda r: (r / "best.safetensors").write_bytes(b"12"),
        "best weights .* cannot be used: cannot read weights from .*best.safetensors",
    ),
    "weights out of reach": (
        lambda r: relink(r / "best.safetensors", r / "config.json" / "weights"),
        "cannot read weights from .*best.safetensors: Not a directory",
    ),
    "a recipe elsewhere": (lambda r: change(r, recipe="os"), "give --recipe os"),
    "a path": (lambda r: change(r, recipe="recipes./tmp/x"), "only modules of recipes"),
    "no such recipe": (lambda r: change(r, recipe="recipes.gone"), "cannot be imported"),
    "no recipe in it": (lambda r: change(r, recipe="recipes.predict"), "has no RECIPE"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_problem_is_named(copy, problem):
    break_it, message = PROBLEMS[problem]
    break_it(copy)
    with pytest.raises(ConfigError, match=message):
        open_run(copy)


def test_an_option_newer_than_the_run_has_its_default(copy):
    change(copy, config={k: v for k, v in config_of(copy).items() if k != "augment"})
    assert open_run(copy).config.augment == dainet7.Config().augment


def test_a_run_cannot_name_code_of_its_own(copy, monkeypatch):
    """Neither in its directory, nor where Python would find it."""
    (copy / "own.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(str(copy))
    change(copy, recipe="own")
    with pytest.raises(ConfigError, match=r"only modules of recipes\.\*"):
        open_run(copy)
    assert "own" not in sys.modules


def test_a_recipe_elsewhere_opens_if_the_user_names_it(copy, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("from recipes.dainet7 import RECIPE\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    change(copy, recipe="mine")
    assert open_run(copy, recipe="mine").recipe is dainet7.RECIPE


def test_an_interrupted_run_has_no_weights(tmp_path, image_folder):
    """Ctrl-C in the first step leaves a record, and nothing else to open."""

    def ctrl_c(batch):
        raise KeyboardInterrupt

    def build(config, splits):
        return replace(dainet7.build(config, splits), augment=ctrl_c)

    options = ["--variant", "smoke", "--data", str(image_folder), "--limit", "64"]
    recipe = replace(dainet7.RECIPE, build=build)
    assert cli.main(recipe, [*options, "--out", str(tmp_path)]) == 130
    with pytest.raises(ConfigError, match="has no weights: it was stopped before the first"):
        open_run(tmp_path / "dainet7-smoke-s0")


def test_every_weight_is_read(trained_run):
    """None is left as `init` drew it."""
    run = open_run(trained_run)
    drawn = run.model.init(random.key(0))
    same = [
        name for name, leaf in run.params.trainable.items() if leaf.equal(drawn.trainable[name])
    ]
    assert not same
