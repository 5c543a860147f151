"""The command line of a recipe: its config's fields as options, its errors as one message."""

import argparse
import logging
import sys
from collections.abc import Sequence

import tyro
from rich.console import Console
from rich.text import Text

from fnet.data import DataError
from fnet.display import Display
from fnet.environment import ConfigError
from fnet.experiment import Recipe
from fnet.nn import ModelError
from fnet.train import train

USER_ERRORS = (ConfigError, DataError, ModelError)


def main(recipe: Recipe, args: Sequence[str] | None = None) -> int:
    """Parse the command line, run the recipe, return the exit code.

    0 when the run is complete, 130 after Ctrl-C, 2 where what was asked for cannot be: one
    message on standard error says why.
    """
    # torch looks for CUDA to compile with, and says at every start where it finds half of it.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    variants = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    variants.add_argument("--variant", default="default")
    chosen, rest = variants.parse_known_args(args)
    errors = Console(stderr=True)
    try:
        if chosen.variant not in recipe.variants:
            raise ConfigError(
                f"there is no variant {chosen.variant!r} of {recipe.name}: give one of "
                f"{', '.join(recipe.variants)}"
            )
        default = recipe.variants[chosen.variant]
        config = tyro.cli(
            type(default),
            prog=f"python -m recipes.{recipe.name}",
            description=_description(recipe, chosen.variant),
            default=default,
            args=rest,
        )
        return train(recipe, chosen.variant, config, Display(Console()))
    except USER_ERRORS as error:
        errors.print(Text.assemble(("error: ", "red"), str(error)), soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        errors.print("Stopped before training began.")
        return 130


def run(recipe: Recipe) -> None:
    """Run the recipe from the command line of this process, and exit."""
    sys.exit(main(recipe))


def _description(recipe: Recipe, variant: str) -> str:
    return (
        f"{recipe.doc.strip()}\n\n--variant NAME picks the defaults, here {variant}: "
        f"{', '.join(recipe.variants)}"
    )
