"""Train a recipe with several values of its options, and compare the runs in a table and a plot.

    python -m recipes.sweep dainet7 --lr 1e-3 1e-2 --weight-decay 0 0.05 --seeds 3
    python -m recipes.sweep --resume runs/sweep-dainet7

Every option of the recipe takes several values here, and each combination of values is trained with
each seed. An option that takes several words, or none, is given once for each value: --sizes 24
--sizes 32, --softmax --no-softmax. All values are checked before the first run starts. Each run has
a run directory of its own, which evaluate, predict, report and compare open.
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from tyro.conf import Positional, arg

from fnet.data.load import expanded
from fnet.run.command import one_process
from fnet.run.config import ConfigError, option
from fnet.run.directory import new_directory
from fnet.run.loading import load_recipe
from fnet.run.recipe import Recipe
from fnet.run.sweep import Sweep, check_arms, conduct, open_sweep
from fnet.run.sweep.conductor import Runner, one_by_one
from fnet.run.sweep.grid import grid, words
from fnet.run.sweep.halving import rungs
from fnet.show.terminal import Display


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line of `python -m recipes.sweep`, without the options of the recipe."""

    name: Positional[Annotated[str | None, arg(metavar="RECIPE")]] = None
    """The recipe: dainet7, or a module, or a file that ends in .py."""
    variant: str | None = None
    """The variant that has all options which are not given."""
    seeds: int | None = None
    """The number of runs of each combination, with the seeds 0, 1, ... To name them: --seed 3 5."""
    halving: bool = False
    """After 1/4, 1/2, ... of the epochs, stop the worse half of the combinations."""
    resume: Path | None = None
    """Continue the sweep in this directory: nothing is trained again. All options are its own."""
    recipe: str | None = None
    """With --resume: the module or file of the recipe, if it is not in recipes.*."""
    ray: bool = False
    """Train several members at the same time, on Ray: pip install "fnet[ray]"."""
    workers: int = 2
    """With --ray: how many members are trained at the same time."""


OWN = {option(field.name)[2:] for field in fields(Options)}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (None: those of this process); return the exit code."""
    given = sys.argv[1:] if args is None else args
    return one_process("python -m recipes.sweep", lambda: _main(given))


def _main(args: Sequence[str]) -> int:
    first, given = words(args)
    own = [(name, values) for name, values in given if name.removeprefix("no-") in OWN]
    of_recipe = [entry for entry in given if entry not in own]
    if "-h" in args or "--help" in args:
        if first:
            return _help(_recipe(first[0]))
        own = [("help", [])]
    line = [*first, *(word for name, values in own for word in (f"--{name}", *values))]
    doc = (__doc__ or "").strip()
    options = tyro.cli(Options, prog="python -m recipes.sweep", description=doc, args=line)
    runner = _runner(options)
    console = Console()
    if options.resume is not None:
        if options.name or of_recipe or options.variant or options.seeds or options.halving:
            raise ConfigError("a sweep that continues keeps its options: give --resume alone")
        out = expanded(options.resume)
        sweep, stopped = open_sweep(out, options.recipe)
        check_arms(sweep, Display(console))
        return conduct(sweep, out, console, stopped, runner)
    if options.name is None:
        raise ConfigError("give a recipe, such as dainet7, or --resume SWEEP")
    sweep = _new(options, _recipe(options.name), of_recipe)
    check_arms(sweep, Display(console))
    out = new_directory(Path(sweep.arms[0].config.out), f"sweep-{sweep.arms[0].recipe.name}")
    return conduct(sweep, out, console, (), runner)


def _new(options: Options, recipe: Recipe, of_recipe: list[tuple[str, list[str]]]) -> Sweep:
    """Return the sweep of a command line, with values of the right types."""
    arms, seeds = grid(recipe, options.variant or "default", of_recipe)
    if options.seeds is not None:
        if options.seeds < 1:
            raise ConfigError(f"--seeds must be at least 1; got {options.seeds}")
        if len(seeds) > 1:
            raise ConfigError("--seeds is the number of seeds, --seed names them: give one of both")
        start = seeds[0] if seeds else arms[0].config.seed
        seeds = list(range(start, start + options.seeds))
    swept = " and ".join(option(name) for name in arms[0].values) or "how much do seeds differ"
    question = f"{recipe.name}: which {swept}?" if arms[0].values else f"{recipe.name}: {swept}?"
    sweep = Sweep(question, arms, seeds or [arms[0].config.seed], options.halving)
    if sweep.halving:
        rungs(sweep)  # says what does not fit before anything starts
    return sweep


def _help(recipe: Recipe) -> int:
    """Print the options of a recipe, and exit."""
    description = f"{(__doc__ or '').strip()}\n\nOptions of {recipe.name}:"
    base = recipe.variants["default"]
    prog = f"python -m recipes.sweep {recipe.name}"
    tyro.cli(type(base), prog=prog, description=description, default=base, args=["--help"])
    return 0


def _recipe(name: str) -> Recipe:
    if name.endswith(".py") or "." in name:
        return load_recipe(name)
    return load_recipe(f"recipes.{name}")


def _runner(options: Options) -> Runner:
    if options.workers < 1:
        raise ConfigError(f"--workers must be at least 1; got {options.workers}")
    if not options.ray:
        return one_by_one
    from fnet.run.sweep.ray_tune import on_ray, require_ray

    require_ray()
    return partial(on_ray, workers=options.workers)


if __name__ == "__main__":
    sys.exit(main())
