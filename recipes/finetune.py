"""Fine-tuning: train a network further on your images, from a run or from a file of weights.

    python -m recipes.finetune --from runs/dainet7-default-s0 --data DIR
    python -m recipes.finetune --from resnet18-f37072fd.pth --network resnet18 --data DIR

From a run, its network and its options are those of the run, and the new run is one of the same
recipe. From a file, --network is the network that the weights are of: one of torchvision's, such as
resnet18 or mobilenet_v3_small, or one of fnet's. The last layer is new if the classes are others. A
table lists the weights that were loaded, those that are new, and those left over.

All layers but the last are trained at a tenth of the learning rate (--body-lr); --freeze
"features.*" does not train layers at all.

Variants:

* default: AdamW with a one-cycle schedule, 10 epochs
* smoke: a small network on a few generated images, for a quick try
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from fnet.data import NORM_CIFAR10, NORM_HALF, Normalize
from fnet.data.load import expanded
from fnet.run import cli
from fnet.run.config import Config as CommonConfig
from fnet.run.config import ConfigError
from fnet.run.directory import read_setup
from fnet.run.loading import load_recipe, own_recipe
from fnet.run.process import leave_out_triton
from fnet.run.recipe import Experiment, Recipe
from fnet.run.schema import config_from_json
from fnet.run.source import is_run
from fnet.run.splits import Splits
from recipes import choices
from recipes.networks import network, of_torchvision
from recipes.training import TrainingConfig, experiment

BODY_LR = 0.1

NORM_IMAGENET = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The constants that torchvision's weights were trained with."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """The options of fine-tuning from a file, and those of all recipes."""

    network: str = "resnet18"
    """The network: torchvision's by its name there, such as resnet18 or mobilenet_v3_small, or
    fnet's: dainet7, mynet, net, ...; cifar_resnet18 and cifar_resnet50 are fnet's ResNets."""
    normalization: Literal["auto", "imagenet", "cifar10", "half"] = "auto"
    """The normalisation of the images. auto: imagenet for torchvision's networks, else cifar10;
    half for images that are not RGB. Weights that say how they were trained keep theirs."""
    batch_size: int = 32
    """The number of images in a training batch."""
    optimizer: choices.OptimizerName = "adamw"
    """The optimizer; momentum and nesterov are SGD with momentum 0.9.
    muon: Muon for the convolutions, Adam for all other parameters."""
    schedule: choices.ScheduleName = "one_cycle"
    """The learning rate over time. one_cycle: linearly up, then down to 0.
    plateau: divided by 10 after ten epochs without a lower train loss."""
    label_smoothing: float = 0.1
    """The fraction of each label that is spread over all classes."""
    augment: choices.AugmentName = "crop_flip"
    """The augmentation in training. crop_alternate mirrors each image in every other epoch.
    affine: small rotations, shifts and scales. more: affine, colour, then crop and flip."""
    body_lr: float = BODY_LR
    """A factor for the learning rate of all layers but the last one."""


VARIANTS = {
    "default": Config(),
    "smoke": Config(data="shapes", network="cnn", epochs=1, limit=64, batch_size=32, compile=False),
}

NOT_KEPT = (
    *("data", "root", "skip_broken", "init_from", "out", "limit", "target", "validation"),
    *("device", "log", "log_steps", "log_graph", "visdom"),
)
"""Options of a run that belong to its images and its machine, not to its training."""


def build(config: Config, splits: Splits) -> Experiment:
    """Return the experiment of a config."""
    model = network(config.network, splits)
    return experiment(config, splits, model, _normalization(config, splits))


def _normalization(config: Config, splits: Splits) -> Normalize:
    choice = config.normalization
    if choice == "auto":
        choice = "imagenet" if of_torchvision(config.network) else "cifar10"
        if splits.input_shape[0] != 3:
            choice = "half"
    return {"imagenet": NORM_IMAGENET, "cifar10": NORM_CIFAR10, "half": NORM_HALF}[choice]


RECIPE = Recipe("finetune", __doc__, "cifar10", VARIANTS, build)


def main(args: Sequence[str] | None = None) -> int:
    """Parse the command line, train, and return the exit code, as `fnet.run.cli.main` does."""
    return cli.launch(lambda: _chosen(args))


def _chosen(args: Sequence[str] | None) -> cli.Chosen:
    prog = RECIPE.origin.command
    early = argparse.ArgumentParser(
        prog=prog, usage=f"{prog} --from RUN|FILE --data DIR [options]; --help lists them",
        add_help=False, allow_abbrev=False,
    )  # fmt: skip
    early.add_argument("--from", dest="source")
    early.add_argument("--recipe")
    early.add_argument("--variant")
    chosen, rest = early.parse_known_args(args)
    if chosen.source is None:  # the help, a run to resume, or a training from scratch
        return cli.chosen_by(RECIPE, args)
    path = expanded(chosen.source)
    if is_run(path):
        if chosen.variant is not None:
            raise ConfigError("--variant is for weights from a file: a run has its own options")
        recipe, default = _of_run(path, chosen.recipe)
        variant = "finetune"
    else:
        recipe, variant = RECIPE, chosen.variant or "default"
        default = cli.of_variant(recipe, variant)
    default = replace(default, init_from=chosen.source)
    asked = [option for option in ("--data", "--help", "-h") if _has(rest, option)]
    if default.data == "auto" and not asked:
        raise ConfigError("give the images to train on: --data DIR, or the name of a data set")
    return cli.with_options(recipe, variant, default, rest, prog=f"{prog} --from {chosen.source}")


def _has(args: Sequence[str], option: str) -> bool:
    return any(arg == option or arg.startswith(f"{option}=") for arg in args)


def _of_run(path: Path, module: str | None) -> tuple[Recipe, CommonConfig]:
    """Return the recipe of a run, and its options for other images."""
    setup = read_setup(path)
    recipe = load_recipe(module) if module else own_recipe(setup.origin, path)
    config = config_from_json(type(recipe.variants["default"]), setup.config)
    common = CommonConfig()
    changed = {name: getattr(common, name) for name in NOT_KEPT}
    if "body_lr" in {field.name for field in fields(config)}:
        changed |= {"body_lr": BODY_LR, "freeze": ()}
    return recipe, replace(config, **changed)


if __name__ == "__main__":
    leave_out_triton()
    sys.exit(main())
