"""The command line of a recipe: its config's fields as options, its errors as one message."""

import argparse
import sys
from collections.abc import Sequence

import tyro
from rich.console import Console

from fnet.display import Display
from fnet.environment import ConfigError
from fnet.experiment import Recipe
from fnet.nn import summary
from fnet.splits import open_splits
from fnet.tables import layer_table
from fnet.tool import exit_code
from fnet.train import train


def main(recipe: Recipe, args: Sequence[str] | None = None) -> int:
    """Parse the command line, run the recipe, return the exit code.

    0 when the run is complete, 130 after Ctrl-C, 2 where what was asked for cannot be: one
    message on standard error says why.
    """
    return exit_code(lambda: _main(recipe, args), "Stopped before training began.")


def _main(recipe: Recipe, args: Sequence[str] | None) -> int:
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--variant", default="default")
    early.add_argument("--summary", action="store_true")
    chosen, rest = early.parse_known_args(args)
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
    console = Console()
    if chosen.summary:
        config.validate()
        _, splits, _ = open_splits(recipe.data, config, Display(console))
        console.print(layer_table(summary(recipe.build(config, splits).model, splits.input_shape)))
        return 0
    outcome = train(recipe, chosen.variant, config, Display(console))
    return 130 if outcome.status == "interrupted" else 0


def run(recipe: Recipe) -> None:
    """Run the recipe from the command line of this process, and exit."""
    sys.exit(main(recipe))


def _description(recipe: Recipe, variant: str) -> str:
    return (
        f"{recipe.doc.strip()}\n\n--variant NAME picks the defaults, here {variant}: "
        f"{', '.join(recipe.variants)}\n--summary prints the layers of the network, and ends."
    )
