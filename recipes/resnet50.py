"""ResNet50 on CIFAR-10, in its form for small images: 23,520,842 parameters.

    python -m recipes.resnet50

A comparison for DaiNet7, trained in the same way. It needs a GPU; fnet has not measured it yet.

Variants:

* default: a short training, that of DaiNet7
* author: the author's training, 250 epochs, 73 s an epoch on a GTX 1080 Ti. The author reports
  92.50 % test and 99.94 % train accuracy
* resnet18: the short training of a smaller network
* smoke: a few generated images, for a quick try
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

from dataclasses import replace

from fnet.run import cli
from fnet.run.outcome import TEST_BEST, TRAIN_FINAL
from fnet.run.recipe import Recipe
from recipes import choices, dainet7

VARIANTS = {
    "default": replace(dainet7.VARIANTS["default"], network="resnet50", epochs=12),
    "author": replace(dainet7.AUTHOR, network="resnet50"),
    "resnet18": replace(dainet7.VARIANTS["default"], network="resnet18", epochs=12),
    "smoke": replace(dainet7.VARIANTS["smoke"], network="resnet50", limit=32, batch_size=16),
}

REPORTED = {
    "default": {TEST_BEST: "92.50 % (250 epochs)"},
    "author": {TEST_BEST: "92.50 %", TRAIN_FINAL: "99.94 %"},
}

RECIPE = Recipe(
    "resnet50", __doc__, "cifar10", VARIANTS, dainet7.build, REPORTED, choices.OLD_NAMES
)

if __name__ == "__main__":
    cli.run(RECIPE)
