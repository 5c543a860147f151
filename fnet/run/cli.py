"""The command line of a recipe: the fields of its config are the options."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import tyro
from rich.console import Console

from fnet.data.load import expanded
from fnet.nn import summary
from fnet.parallel import process_group
from fnet.run.command import exit_code, only_first_prints
from fnet.run.config import Config, ConfigError
from fnet.run.job import run_before_restart
from fnet.run.loading import is_recipe_of
from fnet.run.process import leave_out_triton
from fnet.run.recipe import Recipe, build_experiment
from fnet.run.record import read_run
from fnet.run.schema import config_from_json
from fnet.run.splits import open_one
from fnet.run.train import resume, train
from fnet.show.tables import layer_table
from fnet.show.terminal import Display


class Chosen(NamedTuple):
    """What a command line asks for: a new run, to resume one, or a table of the layers."""

    recipe: Recipe
    variant: str
    config: Config
    resume: Path | None
    summary: bool
    quiet: bool


def main(recipe: Recipe, args: Sequence[str] | None = None) -> int:
    """Parse the command line, run the recipe, return the exit code; see `launch`."""
    return launch(lambda: chosen_by(recipe, args))


def launch(choose: Callable[[], Chosen]) -> int:
    """Train, resume a run or print the layers, as chosen; return the exit code.

    0 if the run is complete, 130 after Ctrl-C (SIGINT), 143 after SIGTERM, 1 if the loss was not
    finite, 2 for an error of the user, with one message on standard error. Started by `torchrun`,
    its processes are one run, and the first prints.
    """
    with only_first_prints():
        return exit_code(lambda: _launch(choose))


def _launch(choose: Callable[[], Chosen]) -> int:
    with process_group() as world:
        chosen = world.together(choose)
        recipe, display = chosen.recipe, Display(Console(quiet=chosen.quiet))
        if chosen.summary:
            if world.is_first:
                _summarize(recipe, chosen.config, Display(Console()))
            return 0
        path = chosen.resume
        if path is None and world.restarts:
            path = world.first(run_before_restart)
        if path is None:
            outcome = train(recipe, chosen.variant, chosen.config, display, world)
        else:
            config = chosen.config
            if chosen.resume is None:
                config = chosen_by(recipe, ["--resume", str(path)]).config
            outcome = resume(recipe, path, config, display, world)
        if chosen.quiet:
            print(outcome.directory)
        return outcome.exit_code


def chosen_by(recipe: Recipe, args: Sequence[str] | None) -> Chosen:
    """Return what the arguments of a recipe's command ask for."""
    prog = recipe.origin.command
    early = argparse.ArgumentParser(
        prog=prog, usage=f"{prog} [options]; --help lists them", add_help=False, allow_abbrev=False
    )
    early.add_argument("--variant")
    early.add_argument("--resume", type=expanded)
    given, rest = early.parse_known_args(args)
    if given.resume is None:
        variant = recipe.variant(given.variant or "default")
        return with_options(recipe, variant, of_variant(recipe, variant), rest)
    variant, default = _of_run(recipe, given.resume, given.variant)
    return with_options(recipe, variant, default, rest, resumed=given.resume)


def with_options(
    recipe: Recipe,
    variant: str,
    default: Config,
    args: Sequence[str] | None,
    *,
    prog: str | None = None,
    resumed: Path | None = None,
) -> Chosen:
    """Return what is chosen by the options of a recipe.

    Args:
        recipe: the recipe.
        variant: the variant, or a label for the run.
        default: the values of the options that are not given.
        args: the arguments.
        prog: the command, for the help; None: the recipe's own.
        resumed: the directory of the run to resume.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--summary", action="store_true")
    early.add_argument("--quiet", action="store_true")
    given, rest = early.parse_known_args(args)
    config = tyro.cli(
        type(default),
        prog=prog or recipe.origin.command,
        description=_description(recipe, variant),
        default=default,
        args=rest,
    )
    return Chosen(recipe, variant, config, resumed, given.summary, given.quiet)


def _summarize(recipe: Recipe, config: Config, display: Display) -> None:
    """Print the layers of the network."""
    config.validate()
    splits = open_one(recipe.data, config, display)
    model = build_experiment(recipe, config, splits).model
    display.console.print(layer_table(summary(model, splits.input_shape)))


def of_variant(recipe: Recipe, variant: str) -> Config:
    """Return the config of a variant.

    Raises:
        ConfigError: the recipe has no such variant.
    """
    if variant not in recipe.variants:
        raise ConfigError(
            f"there is no variant {variant!r} of {recipe.name}: give one of "
            f"{', '.join(recipe.variants)}"
        )
    return recipe.variants[variant]


def _of_run(recipe: Recipe, path: Path, variant: str | None) -> tuple[str, Config]:
    """Return the variant and the config of a run to resume."""
    record = read_run(path)
    origin = record.setup.origin
    if not is_recipe_of(recipe, origin):
        raise ConfigError(
            f"the run {path} is a run of {origin.name}, not of {recipe.origin.name}: resume it "
            f"with {origin.command} --resume {shlex.quote(str(path))}"
        )
    if variant is not None and recipe.variant(variant) != recipe.variant(record.variant):
        raise ConfigError(
            f"the run {path} has the variant {record.variant!r}, and a resumed run keeps its "
            "variant: do not give --variant"
        )
    config = config_from_json(type(recipe.variants["default"]), record.config)
    return record.variant, config


def run(recipe: Recipe) -> None:
    """Run the recipe from the command line of this process, and exit."""
    leave_out_triton()
    sys.exit(main(recipe))


def _description(recipe: Recipe, variant: str) -> str:
    old = [f"{name} is an old name of {new}" for name, new in recipe.aliases.items()]
    names = ", ".join(recipe.variants) + "".join(f" ({text})" for text in old)
    return (
        f"{(recipe.doc or '').strip()}\n\n"
        "--variant NAME chooses the defaults of the options below: "
        f"{names} (shown: {variant})\n--resume RUN continues a stopped run, "
        "with its own options\n--summary only prints the layers of the network.\n"
        "--quiet prints the run directory at the end, and errors, and nothing else."
    )
