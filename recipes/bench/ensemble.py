"""Time K models in one step against K models one after the other.

    python -m recipes.bench.ensemble --only net dainet7 --models 4 16 --markdown

All models train the author's recipe on the same batches. "one after the other" is the compiled step
of one model, whose throughput is that of K runs. "loop" and "vmap" are the strategies of
`fnet.ensemble.train_many`; their images a second are those of all models together. In each round,
each is timed once. Matrix products before and after each timing detect other load on the machine:
such a timing is repeated, at most twice.
"""

from fnet.run.process import start_command

if __name__ == "__main__":
    start_command()

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from rich.console import Console

from fnet import ensemble, random, tree
from fnet.compiler import compile
from fnet.data import Dataset, batches
from fnet.ensemble import train_many
from fnet.run.command import Tool
from fnet.run.config import Config, ConfigError
from fnet.run.process import first_call_without_fragmentation, map_large_blocks
from fnet.run.recipe import Recipe
from fnet.run.runtime import Runtime, describe, resolve
from fnet.run.splits import Splits, open_splits
from fnet.show.terminal import Display
from fnet.step import Step
from recipes import cnn, dainet7, mnist, net
from recipes.bench.calibrate import gemm
from recipes.bench.contender import Stream, timed
from recipes.bench.devices import waiting
from recipes.bench.figures import figures, ratio
from recipes.bench.meter import Meter, Timing
from recipes.bench.tables import MARK

Name = Literal["net", "cnn", "lenet5", "dainet7"]
RECIPES: dict[Name, Recipe] = {
    "net": net.RECIPE,
    "cnn": cnn.RECIPE,
    "lenet5": mnist.RECIPE,
    "dainet7": dainet7.RECIPE,
}
ALONE = "one after the other"
IMAGES = 2000
"""Images that are trained on; the throughput does not depend on it."""
_FOREVER = 10**9


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line of `python -m recipes.bench.ensemble`."""

    only: tuple[Name, ...] = ()
    """The networks (default: all)."""
    models: tuple[int, ...] = (4, 16)
    """How many models are trained at once."""
    repeats: int = 3
    """The number of rounds."""
    seconds: float = 2.0
    """The approximate duration of a timing, at least one step."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    compile: bool = True
    """Compile the steps, if there is a C++ compiler."""
    markdown: bool = False
    """Print the table in Markdown."""


def _benchmark(options: Options) -> int:
    if options.repeats < 1 or min(options.models, default=0) < 1 or options.seconds <= 0:
        raise ConfigError("--repeats, --models and --seconds must be above 0")
    runtime = resolve(options.device, "fp32", options.compile)
    map_large_blocks()
    display = Display(Console())
    environment = describe(runtime)
    display.say(
        f"{environment.gpu or environment.cpu}, {runtime.threads} threads, torch "
        f"{environment.torch}, fp32, {'compiled' if runtime.compiled else 'eager'}"
    )
    _, splits, _ = open_splits("shapes", Config(data="shapes", batch_size=1), display)
    splits = Splits(splits.train.take(IMAGES), splits.test)
    meter = Meter(partial(gemm, runtime.device))
    measured: dict[tuple[Name, int], dict[str, list[Timing]]] = {}
    for name in options.only or tuple(RECIPES):
        for count in options.models:
            display.say(f"{name}, {count} models")
            streams = _streams(name, count, splits, runtime)
            rounds = [
                {kind: meter.take(partial(timed, stream, options.seconds))[-1]}
                for _ in range(options.repeats)
                for kind, stream in streams.items()
            ]
            measured[name, count] = {
                kind: [timing[kind] for timing in rounds if kind in timing] for kind in streams
            }
    rows = [_row(name, count, found, meter) for (name, count), found in measured.items()]
    columns = ["network, batch", "K", ALONE, "loop", "vmap"]
    if options.markdown:
        for line in (columns, ["---"] * len(columns), *rows):
            print(f"| {' | '.join(line)} |")
    else:
        display.table("Images a second of all models together", columns, rows)
    display.say(
        f"The median of {options.repeats} rounds, and how many times as fast as {ALONE}. Matrix "
        f"products: {meter.worst['fp32']:,.0f} to {meter.best['fp32']:,.0f} GFLOP/s. {MARK}: in at "
        "least one round the machine had other load."
    )
    return 0


def _streams(name: Name, count: int, splits: Splits, runtime: Runtime) -> dict[str, Stream]:
    """Return the steps of one model, and those of so many models by strategy, all warm."""
    recipe = RECIPES[name]
    config: Config = recipe.variants["author"]
    if name == "lenet5":
        splits = _digits(splits)
    experiment = recipe.build(config, splits)
    one, train = experiment.train_step(splits.train.to(runtime.device), runtime.dtype)

    def compiled(step: Step) -> Step:
        if not runtime.compiled:
            return step
        cpp_wrapper = config.cpp_wrapper and runtime.device == "cpu"
        return compile(step, cpp_wrapper=cpp_wrapper, kernels=config.kernels)

    init_key, data_key = random.split(random.key(0, runtime.device))
    params = ensemble.init(experiment.model, random.split(init_key, count))
    opt_state = ensemble.init_opt(experiment.tx, params)
    alone = tree.map(torch.clone, ensemble.member((params, opt_state), 0))
    steps: dict[str, tuple[Any, Any]] = {
        ALONE: (compiled(one), alone),
        "loop": (train_many(one, strategy="loop", compile=compiled), (params, opt_state)),
        "vmap": (train_many(one, strategy="vmap", compile=compiled), (params, opt_state)),
    }
    wait = waiting(runtime.device)
    streams = {}
    for kind, (step, state) in steps.items():
        images = config.batch_size * (1 if kind == ALONE else count)
        records = _train(
            first_call_without_fragmentation(step), state, data_key, train, config.batch_size
        )
        streams[kind] = Stream(records, images, wait)
        wait(next(records))
    return streams


def _train(step: Step, state: Any, key: Any, train: Dataset, size: int) -> Iterator[Any]:
    params, opt_state = state
    for batch in batches(key, train, size, _FOREVER):
        params, opt_state, sums = step(params, opt_state, batch)
        yield sums


def _digits(splits: Splits) -> Splits:
    """Return the data in the shape of MNIST: one channel, 28 x 28."""

    def cut(dataset: Dataset) -> Dataset:
        return replace(dataset, images=dataset.images[:, :1, 2:30, 2:30].contiguous())

    return Splits(cut(splits.train), cut(splits.test))


def _row(name: Name, count: int, found: dict[str, list[Timing]], meter: Meter) -> list[str]:
    cells = [f"{name}, {RECIPES[name].variants['author'].batch_size}", str(count)]
    for kind, timings in found.items():
        rates = figures(timings, meter.best)
        text = f"{rates.median:,.0f} ({rates.low:,.0f} to {rates.high:,.0f})" if rates else "-"
        if rates and rates.disturbed:
            text += f" {MARK}"
        faster = ratio(timings, found[ALONE])
        if kind != ALONE and faster is not None:
            text += f", {faster:.2f} ×"
        cells.append(text)
    return cells


main = Tool("bench.ensemble", __doc__, Options, _benchmark)

if __name__ == "__main__":
    sys.exit(main())
