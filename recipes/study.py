"""Run a study: compare trainings that differ in one option, in a table and a plot.

    python -m recipes.study lr --epochs 2 --limit 10000

The studies are those of the authors. To make a study shorter, use --epochs, --limit (training
images) and --seeds. A study is a sweep: python -m recipes.sweep --resume STUDY continues it.
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from tyro.conf import Positional, arg

from fnet.data import Fit
from fnet.run.command import Tool
from fnet.run.config import ConfigError, Precision
from fnet.run.directory import new_directory
from fnet.run.sweep import Arm, Sweep, check_arms, conduct
from fnet.show.terminal import Display
from recipes import cnn, dainet, dainet7

DAINET1 = replace(dainet.AUTHOR, epochs=10)
DAINET7 = replace(dainet7.AUTHOR, epochs=10)

_cnn, _dainet, _dainet7 = (partial(Arm, module.RECIPE) for module in (cnn, dainet, dainet7))

Name = Literal[
    "lr",
    "depth",
    "dropout",
    "augmentation",
    "optimizer",
    "softmax",
    "linears",
    "batch",
    "activation",
    "schedule",
]

STUDIES: dict[Name, Sweep] = {
    "lr": Sweep(
        "CNN: which learning rate of Adam?",
        [
            _cnn("lr 0.1", cnn.VARIANTS["lr0.1"], "43 %"),
            _cnn("lr 0.01", cnn.Config(lr=0.01)),
            _cnn("lr 0.001", cnn.VARIANTS["author"], "66 %"),
        ],
    ),
    "depth": Sweep(
        "Is one more block better?",
        [
            _cnn("cnn", cnn.VARIANTS["author"], "66 %"),
            _cnn("cnnpro", cnn.VARIANTS["pro-author"], "72 to 75 %"),
            _dainet("dainet", replace(DAINET1, network="dainet")),
            _dainet("dainet1", DAINET1, "77.76 %"),
        ],
    ),
    "dropout": Sweep(
        "DaiNet1: dropout in which blocks?",
        [
            _dainet("first block", DAINET1, "77.76 %, the better"),
            _dainet("every block", replace(DAINET1, dropout="every"), "the worse"),
            _dainet("none", replace(DAINET1, dropout="none")),
        ],
    ),
    "augmentation": Sweep(
        "DaiNet1: does more augmentation help?",
        [
            _dainet("none", replace(DAINET1, augment="none")),
            _dainet("crop and flip", DAINET1),
            _dainet("more", replace(DAINET1, augment="more"), "no gain"),
        ],
    ),
    "optimizer": Sweep(
        "DaiNet1: which optimizer?",
        [
            _dainet("SGD 0.1", replace(DAINET1, optimizer="sgd", lr=0.1)),
            _dainet("momentum 0.01", replace(DAINET1, optimizer="momentum", lr=0.01)),
            _dainet("RMSprop 0.001", replace(DAINET1, optimizer="rmsprop")),
            _dainet("Adam 0.001", DAINET1, "not always best"),
        ],
    ),
    "softmax": Sweep(
        "DaiNet1: does a softmax before the loss help?",
        [
            _dainet("logits", DAINET1),
            _dainet("softmax", replace(DAINET1, softmax=True), "superfluous"),
        ],
    ),
    "linears": Sweep(
        "DaiNet1: how many linear layers?",
        [
            _dainet("three", DAINET1),
            _dainet("two", replace(DAINET1, linears=2)),
            _dainet("one", replace(DAINET1, linears=1), "better"),
        ],
    ),
    "batch": Sweep(
        "DaiNet7: which batch size?",
        [
            _dainet7("batch 128", DAINET7, "91.91 % (250 epochs)"),
            _dainet7("batch 1024", replace(DAINET7, batch_size=1024), "higher test loss"),
        ],
    ),
    "activation": Sweep(
        "DaiNet1: which activation?",
        [
            _dainet("ReLU", DAINET1),
            _dainet("sigmoid", replace(DAINET1, activation="sigmoid")),
            _dainet("tanh", replace(DAINET1, activation="tanh")),
            _dainet("softplus", replace(DAINET1, activation="softplus"), "no gain, more work"),
        ],
    ),
    "schedule": Sweep(
        "DaiNet7: which schedule of Adam's learning rate?",
        [
            _dainet7("by epoch", dainet7.AUTHOR, "visible jumps"),
            _dainet7("plateau", replace(dainet7.AUTHOR, schedule="plateau")),
            _dainet7("one cycle", replace(dainet7.AUTHOR, schedule="one_cycle")),
        ],
    ),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line of `python -m recipes.study`."""

    name: Positional[Annotated[Name, arg(metavar="NAME")]]
    """The name of the study."""
    data: str | None = None
    """The name or folder of a data set, instead of each arm's own."""
    root: str | None = None
    """The directory of the published data sets (else $FNET_DATA, else the cache directory)."""
    test: float | None = None
    """For a folder without train and test: the fraction of each class's images in the test split.
    Which images is drawn from the seed."""
    size: str | None = None
    """Resize the images: 64 for 64 x 64 pixels, 64x48 for width x height. None: as they are."""
    fit: Fit | None = None
    """How --size resizes an image of another aspect ratio: crop, pad or stretch."""
    out: str = "runs"
    """The directory in which the directory of the study is created."""
    seeds: int = 1
    """The number of runs of each arm, with the seeds 0, 1, ..."""
    epochs: int | None = None
    """The number of epochs of every run, instead of each arm's own."""
    limit: int | None = None
    """Train on this many images (default: all), with all classes in proportion."""
    batch_size: int | None = None
    """The number of images in a training batch, instead of each arm's own."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    precision: Precision = "auto"
    """The precision of forward and backward pass. auto: bf16 if the device is faster with it."""
    compile: bool = True
    """Compile the steps, if there is a C++ compiler."""


def _train_study(options: Options) -> int:
    if options.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1; got {options.seeds}")
    names = (
        *("data", "root", "test", "size", "fit", "epochs", "limit", "batch_size"),
        *("device", "precision", "compile"),
    )
    given = {name: getattr(options, name) for name in names}
    overrides = {name: value for name, value in given.items() if value is not None}
    study = STUDIES[options.name]
    arms = [replace(arm, config=replace(arm.config, **overrides)) for arm in study.arms]
    study = replace(study, arms=arms, seeds=range(options.seeds))
    console = Console()
    check_arms(study, Display(console))
    out = new_directory(Path(options.out), f"study-{options.name}")
    return conduct(study, out, console)


main = Tool("study", __doc__, Options, _train_study)

if __name__ == "__main__":
    sys.exit(main())
