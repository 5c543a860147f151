"""Time fnet's training step against its peers: eager and compiled PyTorch, flax with jax.jit.

    python -m recipes.bench --only net dainet7

All contenders train the same network with the same optimizer on the same number of threads, each in
its own process, which sleeps while another one is timed. fnet runs the author's recipe with its
augmentation. As in the recipes, its process keeps freed memory and disables Triton on a CPU
(`fnet.run.process`); the processes of the peers, like a user's script, do not. Each peer is tried
in several forms, and the fastest form takes part:

* eager: an ordinary script, with PIL images, torchvision's transforms and a DataLoader
* memory: a data set in memory, preprocessed once and not augmented
* compiled: like memory, with torch.compile(module)
* augmented: like memory, with crop and flip on the device (by default only on a GPU)
* jax: flax and optax, the step in jax.jit, data like memory (pip install "fnet[bench]")

Matrix products before and after each timing detect other load on the machine: such a timing is
repeated, at most twice. Memory is the peak of a contender's process, without workers; set-up is the
time from the start of the process to the end of the first step, with an empty compile cache.

K models in one step against K runs have a benchmark of their own: recipes.bench.ensemble.
"""

from fnet.run.process import start_command

if __name__ == "__main__":
    start_command()

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from rich.console import Console

from fnet.files import write_atomically
from fnet.nn import check
from fnet.run.command import Tool
from fnet.run.config import Config, ConfigError, Precision
from fnet.run.recipe import Experiment, Recipe
from fnet.run.runtime import Runtime, describe, missing_compiler, resolve
from fnet.run.splits import Splits, open_splits
from fnet.show.terminal import Display
from recipes import cnn, dainet7, mynet, net, resnet50
from recipes.bench.arrays import save_arrays
from recipes.bench.calibrate import gemm
from recipes.bench.meter import Meter
from recipes.bench.race import Entry, race
from recipes.bench.record import record, versions
from recipes.bench.roster import PeerName, candidates, missing
from recipes.bench.tables import caption, markdown, row_table
from recipes.bench.work import SGD, Adam, Optimizer, Work

RowName = Literal["net", "cnn", "cnnpro", "dainet7", "mynet", "resnet50"]

IMAGES = 10_000
"""The maximum number of images that are used: the throughput does not depend on it."""


@dataclass(frozen=True)
class Row:
    """A variant of a recipe, with its optimizer and augmentation independent of a framework."""

    recipe: Recipe
    variant: str
    optimizer: Optimizer
    augmented: bool = False

    @property
    def config(self) -> Config:
        """The config of the variant."""
        config: Config = self.recipe.variants[self.variant]
        return config


_DAINET7 = Adam(1e-3, b2=0.99, weight_decay=5e-4)

ROWS: dict[RowName, Row] = {
    "net": Row(net.RECIPE, "author", SGD(1e-3)),
    "cnn": Row(cnn.RECIPE, "author", Adam(1e-3)),
    "cnnpro": Row(cnn.RECIPE, "pro-author", Adam(1e-3)),
    "dainet7": Row(dainet7.RECIPE, "author", _DAINET7, augmented=True),
    "mynet": Row(mynet.RECIPE, "author", SGD(0.1, weight_decay=5e-4), augmented=True),
    "resnet50": Row(resnet50.RECIPE, "author", _DAINET7, augmented=True),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line of `python -m recipes.bench`."""

    only: tuple[RowName, ...] = ()
    """The networks (default: all, resnet50 only on a GPU)."""
    peers: tuple[PeerName, ...] = ()
    """The contenders (default: all that can run, augmented only on a GPU)."""
    repeats: int = 5
    """The number of rounds; each contender is timed once in a round."""
    seconds: float = 4.0
    """The approximate duration of a timing, at least one step."""
    data: str = "shapes"
    """The name of a data set, or a folder with train/<class>/* and test/<class>/*."""
    root: str | None = None
    """The directory of the published data sets (else $FNET_DATA, else the cache directory)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    precision: Precision = "auto"
    """The precision of fnet. auto: bf16 if the device is faster with it.
    With bf16, peers are tried in both precisions."""
    compile: bool = True
    """Compile fnet's steps, if there is a C++ compiler."""
    json: Path | None = None
    """A new file for all timings, the figures and the environment."""
    markdown: bool = False
    """Also print all rows as one Markdown table."""

    def validate(self) -> None:
        """Check the options before anything runs.

        Raises:
            ConfigError: an option is out of its range, or the file exists.
        """
        if self.repeats < 1:
            raise ConfigError(f"--repeats must be at least 1; got {self.repeats}")
        if not 0 < self.seconds < math.inf:
            raise ConfigError(f"--seconds must be a number above 0; got {self.seconds}")
        if self.json is not None and self.json.exists():
            raise ConfigError(f"{self.json} exists and is not overwritten: give another name")
        if self.json is not None and not self.json.parent.is_dir():
            raise ConfigError(f"cannot write {self.json}: there is no directory {self.json.parent}")


def _benchmark(options: Options) -> int:
    options.validate()
    runtime = resolve(options.device, options.precision, options.compile)
    console = Console()
    display = Display(console)
    peers = _contenders(options, runtime, display)
    splits = _splits(options, display)
    experiments = {name: _experiment(name, splits) for name in _rows(options, runtime)}
    environment = describe(runtime)
    display.say(
        f"{environment.gpu or environment.cpu}, {runtime.threads} threads, "
        f"torch {environment.torch}, fnet in {runtime.precision}"
    )
    setting = {
        "environment": {**asdict(environment), **versions()},
        "data": splits.train.name,
        "train_images": len(splits.train),
        "repeats": options.repeats,
        "seconds": options.seconds,
    }
    meter = Meter(partial(gemm, runtime.device, sorted({"fp32", runtime.precision})))
    results: dict[Work, dict[str, Entry]] = {}
    for name, experiment in experiments.items():
        with TemporaryDirectory(prefix="fnet-bench-", ignore_cleanup_errors=True) as folder:
            save_arrays(Path(folder), splits, experiment.preprocess)
            work = _work(name, splits, runtime, folder)
            results[work] = race(
                work,
                {peer: forms for peer in peers if (forms := candidates(peer, work))},
                meter,
                repeats=options.repeats,
                seconds=options.seconds,
                scratch=Path(folder),
                say=display.say,
            )
        console.print(row_table(work, results[work], meter.best))
        if options.json is not None:
            _write(options.json, {**setting, **record(results, meter)})
    display.say(caption(meter))
    if options.markdown:
        print(markdown(results, meter.best))
    return int(any(entry.error for entries in results.values() for entry in entries.values()))


def _rows(options: Options, runtime: Runtime) -> list[RowName]:
    if options.only:
        return list(dict.fromkeys(options.only))
    return [name for name in ROWS if name != "resnet50" or runtime.device != "cpu"]


def _contenders(options: Options, runtime: Runtime, display: Display) -> list[PeerName]:
    """Return the contenders of --peers, or else all that can take part.

    Raises:
        ConfigError: a contender of --peers cannot take part.
    """
    reasons = {"jax": missing("jax")}
    if not runtime.compiled:
        reasons["compiled"] = missing_compiler() or "--no-compile was given"
    for name in options.peers:
        if reasons.get(name):
            raise ConfigError(f"{name} cannot take part: {reasons[name]}")
    if options.peers:
        return list(dict.fromkeys(options.peers))
    peers: list[PeerName] = ["fnet", "eager", "memory", "compiled", "jax"]
    for peer, reason in reasons.items():
        if reason:
            display.say(f"{peer} does not take part: {reason}")
    peers = [name for name in peers if not reasons.get(name)]
    return peers if runtime.device == "cpu" else [*peers, "augmented"]


def _splits(options: Options, display: Display) -> Splits:
    """Return the data, at most `IMAGES` images of each split."""
    config = Config(data=options.data, root=options.root, batch_size=1)
    _, splits, _ = open_splits("shapes", config, display)
    train, test = (s.take(min(IMAGES, len(s))) for s in (splits.train, splits.test))
    return Splits(train, test)


def _experiment(name: RowName, splits: Splits) -> Experiment:
    """Return the experiment of a row; check that it fits the data."""
    row = ROWS[name]
    size = row.config.batch_size
    if size > len(splits.train):
        raise ConfigError(
            f"{name} trains on batches of {size}, but {splits.train.name} has "
            f"{len(splits.train)} training images: give a larger data set with --data, or other "
            "networks with --only"
        )
    try:
        experiment = row.recipe.build(row.config, splits)
        check(experiment.model, splits.input_shape)
        experiment.preprocess(splits.train.images[:1])
    except ValueError as error:
        raise ConfigError(f"{name} does not fit {splits.train.name}: {error}") from error
    return experiment


def _work(name: RowName, splits: Splits, runtime: Runtime, folder: str) -> Work:
    row = ROWS[name]
    return Work(
        network=name,
        recipe=f"recipes.{row.recipe.name}",
        variant=row.variant,
        optimizer=row.optimizer,
        augmented=row.augmented,
        batch_size=row.config.batch_size,
        classes=len(splits.train.classes),
        folder=folder,
        device=runtime.device,
        bf16=runtime.precision == "bf16",
        compiled=runtime.compiled,
        threads=runtime.threads,
    )


def _write(file: Path, measured: Mapping[str, Any]) -> None:
    """Write all measurements so far, replacing the file."""
    try:
        write_atomically(file, json.dumps(measured, indent=2, ensure_ascii=False).encode())
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from error


main = Tool("bench", __doc__, Options, _benchmark)

if __name__ == "__main__":
    sys.exit(main())
