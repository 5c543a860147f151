"""CNNpro on FER2013: seven emotions on grey faces of 48 x 48 pixels.

    python -m recipes.fer2013 --root DIR

The data come from Kaggle: put fer2013.csv or icml_face_data.csv into DIR/fer2013. Or use a folder
of class folders with files named Training_*, PublicTest_* and PrivateTest_* (`--data DIR`). The
training images are the official Training split, the test images both others. The author reports
60 % or more, and of the training only that the network is of CNN's kind.

Variants:

* default, cnn: CNNpro and CNN with Muon, a one-cycle schedule, crops and flips, 16 epochs, six of
  them on images of 24 x 24; not measured yet
* author, cnn-author: the author's training on CIFAR-10, Adam at 0.001, batches of 32, images padded
  by 4 pixels and resized back. The number of epochs is not known; this recipe uses 10
* smoke: a few generated images, for a quick try
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

from dataclasses import replace
from functools import partial

from fnet.run import cli
from fnet.run.outcome import TEST_FINAL
from fnet.run.recipe import Recipe
from recipes import choices, cnn

WELL = replace(cnn.WELL, epochs=16, sizes=6 * (24,), augment="crop_flip", crop=4)
VARIANTS = {
    "default": replace(WELL, network="cnnpro"),
    "cnn": WELL,
    "author": cnn.Config(network="cnnpro", epochs=10),
    "cnn-author": cnn.Config(epochs=10),
    "smoke": replace(cnn.SMOKE, augment="crop_flip"),
}

REPORTED = {variant: {TEST_FINAL: "60 % or more"} for variant in VARIANTS if variant != "smoke"}

build = partial(cnn.build, data="fer2013", full_size=48)

RECIPE = Recipe("fer2013", __doc__, "fer2013", VARIANTS, build, REPORTED, choices.OLD_NAMES)

if __name__ == "__main__":
    cli.run(RECIPE)
