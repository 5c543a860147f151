"""A run that is ready to start or to resume, and its directory, shared by its processes."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from fnet import tree
from fnet.data import steps_per_epoch
from fnet.parallel import World, recall, remember
from fnet.run.checkpoint import CheckpointError, Restored, run_lock
from fnet.run.config import Config, ConfigError
from fnet.run.directory import CONFIG, RunDirectory, UnwrittenDirectory, new_directory
from fnet.run.preprocess_json import preprocess_to_json
from fnet.run.progress import initial_state
from fnet.run.recipe import Experiment, Recipe
from fnet.run.record import RunRecord
from fnet.run.resume import require_checkpoint, say_resumed
from fnet.run.runtime import Runtime, describe
from fnet.run.schema import Setup, Source
from fnet.run.splits import Splits
from fnet.run.write_errors import write_error
from fnet.show.terminal import Display

_RUN = "run"  # what torchrun remembers over a restart: the run directory


@dataclass(frozen=True)
class Job:
    """A run that is ready to start or to resume."""

    recipe: Recipe
    variant: str
    config: Config
    splits: Splits
    stand_in: bool
    experiment: Experiment
    runtime: Runtime
    directory: RunDirectory
    world: World
    inexact: list[str] = field(default_factory=list)
    """Why the resumed run is not bit for bit one that was never stopped."""
    source: Source | None = None
    """Where the first weights are from, with --init-from."""


def run_before_restart() -> Path | None:
    """Return the directory of the run that this command began before torchrun restarted it.

    None if it had not yet written its config.
    """
    path = recall(_RUN)
    return Path(path) if path and (Path(path) / CONFIG).exists() else None


def own_directory(out: Path, name: str, world: World) -> Path:
    """Return a new run directory, or the one that this command made before it was restarted."""
    known = recall(_RUN) if world.restarts else None
    if known is not None:
        return Path(known)
    path = new_directory(out, name)
    remember(_RUN, str(path))
    return path


def require_same_data(splits: Splits, world: World) -> None:
    """Check that all processes have the same images, also those on other machines.

    Raises:
        ConfigError: the images of a process are not those of the first.
    """
    if world.size == 1:
        return
    expected = world.first(lambda: (splits.train.name, splits.checksum))

    def check() -> None:
        if splits.checksum != expected[1]:
            raise ConfigError(
                f"the images of process {world.rank}, {splits.train.name}, are not those of the "
                f"first process, {expected[0]}: give --data and --root that all machines have"
            )

    world.together(check)


def directory_at(path: Path, world: World) -> RunDirectory:
    """Return the run directory; only the first process writes to it."""
    return RunDirectory(path) if world.is_first else UnwrittenDirectory(path)


@contextmanager
def locked(path: Path, world: World) -> Iterator[None]:
    """Hold the lock of the run directory in the first process, within the context."""
    with ExitStack() as held:
        world.first(lambda: held.enter_context(run_lock(path)))
        yield


def require_parts(config: Config, world: World) -> None:
    """Check that each process has a part of every batch.

    Raises:
        ConfigError: there are fewer images in a batch than processes; or, with `--sync-bn`, the
            parts would differ in size.
    """
    size, rest = divmod(config.batch_size, world.size)
    if size == 0 or (config.sync_bn and rest):
        raise ConfigError(
            f"--batch-size {config.batch_size} cannot be divided among {world.size} processes"
            f"{'' if size == 0 else ' equally, as --sync-bn needs it'}: give a multiple of "
            f"{world.size}, such as {(size + 1) * world.size}"
        )


def begin(job: Job) -> None:
    """Write the setup of a new run; if that fails, remove the run directory."""
    try:
        _write_setup(job)
    except CheckpointError as error:
        path = job.directory.path
        shutil.rmtree(path, ignore_errors=True)
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        advice = ", or give another --out"
        raise ConfigError(write_error(f"write the run {path}", reason, advice)) from error


def _write_setup(job: Job) -> None:
    """Write `config.json` and `environment.json`, before the run starts or resumes."""
    splits = job.splits
    setup = Setup(
        recipe=job.recipe.origin.name,
        recipe_checksum=job.recipe.origin.checksum,
        variant=job.variant,
        config=asdict(job.config),
        data=splits.train.name,
        data_checksum=splits.checksum,
        stand_in=job.stand_in,
        train_images=len(splits.train),
        test_images=len(splits.test),
        classes=splits.train.classes,
        input_shape=splits.input_shape,
        preprocess=preprocess_to_json(job.experiment.preprocess),
        inexact=tuple(job.inexact),
        source=job.source,
    )
    job.directory.write_setup(setup, describe(job.runtime))


def restore(job: Job, record: RunRecord, display: Display) -> Restored | None:
    """Return the last undamaged checkpoint, after rolling the run directory back to its step."""
    directory, config = job.directory, job.config

    def roll_back() -> Restored | None:
        like = initial_state(job.experiment, config.seed, job.runtime.device)
        restored = directory.checkpoints.restore(like)
        steps = config.epochs * steps_per_epoch(len(job.splits.train), config.batch_size)
        note = require_checkpoint(restored, record, steps)
        if restored is None and job.source is not None:
            raise ConfigError(
                f"the run {record.path} was stopped before its first checkpoint, with the weights "
                f"of {job.source.path}: there is nothing to resume. Start a new run"
            )
        _write_setup(job)
        directory.checkpoints.discard_after(restored.step if restored else 0)
        directory.write_metrics(note.lines if note else [])
        directory.remove_result()
        return restored

    restored = job.world.first(roll_back)
    if restored is not None:
        # The first process has sent the tensors to the others as they were on its own device.
        state = tree.map(lambda leaf: leaf.to(job.runtime.device), restored.state)
        restored = replace(restored, state=state)
    say_resumed(restored, job.inexact, display)
    return restored
