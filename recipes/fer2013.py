"""CNNpro on FER2013: seven emotions on grey faces of 48 x 48 pixels.

    python -m recipes.fer2013 --root DIR

The data comes from Kaggle (fer2013.csv or icml_face_data.csv in DIR/fer2013); a folder of class
folders with files named Training_*, PublicTest_* and PrivateTest_* does as well (`--data DIR`).
Training is the official Training split, the test both others. The author reports 60 % or more;
fnet has no figure of its own yet.
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
