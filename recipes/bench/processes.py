"""The throughput of two processes of one thread against one process of two threads.

    python -m recipes.bench.processes --only cnn dainet7 --repeats 3

Every measurement is a whole run of a recipe on generated images, started as a user starts it. Its
figure is the throughput of its last epoch, without compilation and evaluation. The runs of a recipe
alternate, so that other load on the machine affects all of them.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from fnet.run.command import Tool
from fnet.run.config import ConfigError
from fnet.run.record import read_run


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of this benchmark."""

    only: tuple[str, ...] = ("net", "cnn", "mnist", "dainet7")
    """The recipes to measure."""
    repeats: int = 3
    """The number of runs of each kind."""
    processes: int = 2
    """The number of processes, of one thread each; the single process has as many threads."""
    steps: int = 20
    """The number of steps in an epoch. The second of two epochs is measured."""
    batch_size: int | None = None
    """The number of images in a batch, of all processes together (default: the recipe's)."""
    compile: bool = True
    """Compile the steps."""


SIZES = {"net": 4, "cnn": 32, "mnist": 128, "dainet7": 128, "mynet": 128, "resnet50": 128}
"""The batch sizes of the authors."""


def _compare(options: Options) -> int:
    unknown = [name for name in options.only if name not in SIZES]
    if unknown:
        raise ConfigError(f"--only has {unknown[0]!r}: give some of {', '.join(SIZES)}")
    if options.processes < 2 or options.repeats < 1 or options.steps < 2:
        raise ConfigError("give at least 2 --processes, 1 --repeats and 2 --steps")
    n = options.processes
    table = Table(
        "recipe, batch",
        f"1 process, {n} threads",
        f"{n} processes",
        f"{n} processes, --sync-bn",
        title="images/s: median (lowest to highest); times as fast as one process",
    )
    with tempfile.TemporaryDirectory() as root:
        for name in options.only:
            found: list[list[float]] = [[], [], []]
            for repeat in range(options.repeats):
                for kind, figures in enumerate(found):
                    out = Path(root, name, f"{kind}-{repeat}")
                    figures.append(_throughput(name, kind, options, out))
            base = median(found[0])
            cells = [
                f"{median(each):,.0f} ({min(each):,.0f} to {max(each):,.0f})"
                + (f"; {median(each) / base:.2f} ×" if kind else "")
                for kind, each in enumerate(found)
            ]
            table.add_row(f"{name}, {options.batch_size or SIZES[name]}", *cells)
    Console().print(table)
    return 0


def _throughput(name: str, kind: int, options: Options, out: Path) -> float:
    """Return the images/s of a run: 0 with one process, 1 with several, 2 with `--sync-bn`."""
    size = options.batch_size or SIZES[name]
    words = ["-m", f"recipes.{name}", "--data", "shapes", "--epochs", "2", "--out", str(out)]
    words += ["--batch-size", str(size), "--limit", str(size * options.steps)]
    words += ["--compile" if options.compile else "--no-compile"]
    words += ["--sync-bn"] if kind == 2 else []
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(options.processes)]
    threads = 1 if kind else options.processes
    done = subprocess.run(
        [sys.executable, *(launcher if kind else []), *words],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigError(f"a run of recipes.{name} has failed: {done.stderr.strip()[-1000:]}")
    (run,) = out.iterdir()
    return read_run(run).lines[-1].images_per_second


main = Tool("bench.processes", __doc__, Options, _compare)

if __name__ == "__main__":
    sys.exit(main())
