"""CNNpro on FER2013: seven emotions on grey faces of 48 x 48 pixels.

    python -m recipes.fer2013 --root DIR

The data come from Kaggle: put fer2013.csv or icml_face_data.csv into DIR/fer2013. Or use a folder
of class folders with files named Training_*, PublicTest_* and PrivateTest_* (`--data DIR`). The
training images are the official Training split, the test images both others. The author reports
60 % or more; fnet has not measured it yet.
"""

from fnet.run.process import start_command

if __name__ == "__main__":
    start_command()

from dataclasses import replace

from fnet.run import cli
from fnet.run.outcome import TEST_FINAL
from fnet.run.recipe import Recipe
from recipes import cnn

VARIANTS = {
    "default": cnn.Config(network="cnnpro", epochs=10, augment="crop_flip"),
    "cnn": cnn.Config(epochs=10, augment="crop_flip"),
    "smoke": replace(cnn.SMOKE, augment="crop_flip"),
}

REPORTED = {variant: {TEST_FINAL: "60 % or more"} for variant in ("default", "cnn")}

RECIPE = Recipe("fer2013", __doc__, "fer2013", VARIANTS, cnn.build, REPORTED)

if __name__ == "__main__":
    cli.run(RECIPE)
