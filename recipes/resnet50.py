"""ResNet50 on CIFAR-10, in its form for small images: 23,520,842 parameters.

    python -m recipes.resnet50

A comparison for DaiNet7, trained in the same way. The author reports 92.50 % test and 99.94 % train
accuracy (`--variant original`), 73 s an epoch on a GTX 1080 Ti. The default variant is a short
training. Both need a GPU; fnet has not measured them yet.
"""

from fnet.run.process import start_command

if __name__ == "__main__":
    start_command()

from dataclasses import replace

from fnet.run import cli
from fnet.run.outcome import TEST_BEST, TRAIN_FINAL
from fnet.run.recipe import Recipe
from recipes import dainet7

VARIANTS = {
    "default": replace(dainet7.VARIANTS["default"], network="resnet50", epochs=12),
    "original": replace(dainet7.ORIGINAL, network="resnet50"),
    "resnet18": replace(dainet7.VARIANTS["default"], network="resnet18", epochs=12),
    "smoke": replace(dainet7.VARIANTS["smoke"], network="resnet50", limit=32, batch_size=16),
}

REPORTED = {
    "default": {TEST_BEST: "92.50 % (250 epochs)"},
    "original": {TEST_BEST: "92.50 %", TRAIN_FINAL: "99.94 %"},
}

RECIPE = Recipe("resnet50", __doc__, "cifar10", VARIANTS, dainet7.build, REPORTED)

if __name__ == "__main__":
    cli.run(RECIPE)
