"""A run from its config to the finished run directory: `train` and `resume`."""

import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from fnet.data import steps_per_epoch
from fnet.data.load import expanded
from fnet.debug import NonFiniteError
from fnet.nn import Params
from fnet.nn.check import network_of
from fnet.run.checkpoint import CheckpointError, Restored, run_lock
from fnet.run.config import Config, ConfigError
from fnet.run.directory import RunDirectory, new_directory
from fnet.run.epochs import Trainer
from fnet.run.log import open_log
from fnet.run.outcome import Outcome, report_command, resume_hint, say_result
from fnet.run.preprocess_json import preprocess_from_json, preprocess_to_json
from fnet.run.process import map_large_blocks
from fnet.run.progress import initial_state
from fnet.run.recipe import Experiment, Recipe, build_experiment
from fnet.run.record import RunRecord, read_run
from fnet.run.resume import (
    changed_file,
    check_options,
    require_checkpoint,
    same_data,
    same_runtime,
    say_resumed,
)
from fnet.run.runtime import Runtime, apply_runtime, describe, missing_compiler, resolve
from fnet.run.schema import Result, Setup, Source, Status
from fnet.run.signals import noted_interrupt, stop_request
from fnet.run.source import read_source
from fnet.run.splits import Splits, open_splits, with_absolute_paths
from fnet.run.start import start_from
from fnet.run.time_to_accuracy import in_percent, time_to
from fnet.run.write_errors import write_error
from fnet.show.terminal import Display


@dataclass(frozen=True)
class _Job:
    """A run that is ready to start or to resume."""

    recipe: Recipe
    variant: str
    config: Config
    splits: Splits
    stand_in: bool
    experiment: Experiment
    runtime: Runtime
    directory: RunDirectory
    inexact: list[str] = field(default_factory=list)
    """Why the resumed run is not bit for bit one that was never stopped."""
    source: Source | None = None
    """Where the first weights are from, with --init-from."""


def run_name(recipe: Recipe, variant: str, seed: int) -> str:
    """Return the name of the run directory, to which a number is added if there is one already."""
    return f"{recipe.name}-{variant}-s{seed}"


def train(
    recipe: Recipe, variant: str, config: Config, display: Display, *, until: int | None = None
) -> Outcome:
    """Train the recipe with this config, in a new run directory.

    Args:
        recipe: the recipe.
        variant: the variant, or the label of the run in a sweep.
        config: the options.
        display: shows the training.
        until: stop after this epoch with a checkpoint, as after a signal. The schedule stays that
            of `config.epochs`, so a resumed run is the run that was never stopped.

    Raises:
        ConfigError, DataError, ModelError: an error of the user; raised before the training starts.
        CheckpointError: a file of the run cannot be written.
    """
    config.validate()
    config = with_absolute_paths(config)
    runtime = resolve(
        config.device, config.precision, config.compile, deterministic=config.deterministic
    )
    _prepare(runtime)
    given = start = None
    if config.init_from is not None:
        given = read_source(config.init_from)
        # Absolute, so that the record can be read from any folder.
        config = replace(config, init_from=str(expanded(config.init_from).resolve()))
    with display.live():
        config, splits, stand_in = open_splits(recipe.data, config, display)
        experiment = build_experiment(recipe, config, splits)
        if given is not None:
            experiment, start = start_from(given, config, experiment, splits, runtime)
        path = new_directory(Path(config.out), run_name(recipe, variant, config.seed))
        directory = RunDirectory(path)
        source = start.loaded.source if start else None
        job = _Job(
            recipe, variant, config, splits, stand_in, experiment, runtime, directory, source=source
        )
        with run_lock(path):
            _begin(job)
            restored = start.save(directory, display) if start else None
            _say_start(job, display)
            return _train_and_conclude(job, display, restored, until)


def resume(
    recipe: Recipe, path: Path, config: Config, display: Display, *, until: int | None = None
) -> Outcome:
    """Resume the run in a run directory from its last undamaged checkpoint.

    With the run's own config, on the same machine, the result is bit for bit that of a run that was
    never stopped; otherwise a message says what differs.

    Args:
        recipe: the recipe of the run.
        path: the run directory.
        config: the config of the run; see `fnet.run.resume` for what may differ.
        display: shows the training.
        until: as in `train`.

    Raises:
        ConfigError, DataError, ModelError: the run cannot be resumed, or not with this config.
        CheckpointError: another process writes to the run, or it has no undamaged checkpoint.
    """
    config.validate()
    record = read_run(path)
    config = with_absolute_paths(config)
    inexact = check_options(record, config)
    runtime, different = same_runtime(record, config)
    different += changed_file(record, recipe)
    _prepare(runtime)
    with display.live(), run_lock(path):
        splits = same_data(record, config, recipe.data, display)
        experiment = build_experiment(recipe, config, splits)
        # The same images from another place are not normalised in another way.
        preprocess = preprocess_from_json(record.setup.preprocess, experiment.preprocess)
        experiment = replace(experiment, preprocess=preprocess)
        job = _Job(
            recipe,
            record.variant,
            config,
            splits,
            record.stand_in,
            experiment,
            runtime,
            RunDirectory(path),
            [*record.inexact, *inexact, *different],
            record.setup.source,
        )
        _say_start(job, display)
        return _train_and_conclude(job, display, _restore(job, record, display), until)


def _prepare(runtime: Runtime) -> None:
    """Apply process-wide settings: malloc and runtime."""
    map_large_blocks()
    apply_runtime(runtime)


def _begin(job: _Job) -> None:
    """Write the setup of a new run; if that fails, remove the run directory."""
    try:
        _write_setup(job)
    except CheckpointError as error:
        path = job.directory.path
        shutil.rmtree(path, ignore_errors=True)
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        advice = ", or give another --out"
        raise ConfigError(write_error(f"write the run {path}", reason, advice)) from error


def _write_setup(job: _Job) -> None:
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


def _restore(job: _Job, record: RunRecord, display: Display) -> Restored | None:
    """Return the last undamaged checkpoint, after rolling the run directory back to its step."""
    directory, config = job.directory, job.config
    like = initial_state(job.experiment, config.seed, job.runtime.device)
    restored = directory.checkpoints.restore(like)
    steps = config.epochs * steps_per_epoch(len(job.splits.train), config.batch_size)
    note = require_checkpoint(restored, record, steps)
    if restored is None and job.source is not None:
        raise ConfigError(
            f"the run {record.path} was stopped before its first checkpoint, with the weights of "
            f"{job.source.path}: there is nothing to resume. Start a new run"
        )
    _write_setup(job)
    directory.checkpoints.discard_after(restored.step if restored else 0)
    directory.write_metrics(note.lines if note else [])
    directory.remove_result()
    say_resumed(restored, job.inexact, display)
    return restored


def _train_and_conclude(
    job: _Job, display: Display, restored: Restored | None = None, until: int | None = None
) -> Outcome:
    """Train from the beginning or from a checkpoint; then write the result and the report."""
    directory, config = job.directory, job.config
    log = open_log(config, f"{job.recipe.name}_{job.variant}", directory.path, display.say)
    trainer = Trainer(job.experiment, job.splits, config, job.runtime, directory, display, log)
    progress = trainer.progress
    status: Status = "diverged"
    reason = ""
    with stop_request(
        lambda: display.say("Stopping after this step. Press Ctrl-C again to stop immediately.")
    ) as stop:
        try:
            status = trainer.run(stop, restored, until)
        except NonFiniteError as error:
            reason = str(error)
        except KeyboardInterrupt:
            hint = resume_hint(job.recipe, directory.path)
            display.say(f"Stopped. The last checkpoint is saved. {hint}")
            raise
        if progress.record is not None:
            progress.write_weights("final", progress.record)
        step = progress.record.step if progress.record else 0
        result = Result(
            status=status,
            step=step,
            data=job.splits.train.name,
            stand_in=job.stand_in,
            final=progress.lines[-1] if progress.lines else None,
            best=progress.best,
            reported=_reported(job),
            reason=reason,
            seconds_to_accuracy=in_percent(time_to(progress.lines)),
        )
        directory.write_result(result)
    if reason:
        display.say(reason, "red")
    params = trainer.eval_params(progress.record) if progress.record else None
    interrupted = _write_report(job, params, display)
    outcome = Outcome(
        status,
        # A signal that arrived after the last step still ends the command, and a study.
        stop.signal or interrupted,
        directory.path,
        result.data,
        result.stand_in,
        result.final,
        result.best,
    )
    say_result(job.recipe, outcome, step, result.reported, display)
    return outcome


def _reported(job: _Job) -> dict[str, str]:
    """Return the author's figures, where the run is on the author's data."""
    if job.stand_in or job.config.data not in ("auto", job.recipe.data):
        return {}
    return dict(job.recipe.reported.get(job.recipe.variant(job.variant), {}))


def _say_start(job: _Job, display: Display) -> None:
    config, runtime, splits = job.config, job.runtime, job.splits
    size = sum(shape.numel() for shape in network_of(job.experiment.model).shapes.values())
    display.say(
        f"{job.recipe.name} ({job.variant}): {size:,} parameters, {len(splits.train):,} images of "
        f"{splits.train.name}, {config.epochs} {'epoch' if config.epochs == 1 else 'epochs'} of "
        f"batches of {config.batch_size}, on {runtime.device} in {runtime.precision}"
    )
    if config.compile and not runtime.compiled:
        display.say(f"Steps run eagerly, which is slower: this machine has {missing_compiler()}.")


def _write_report(job: _Job, params: Params | None, display: Display) -> int | None:
    """Write the run's report; an error only leaves the run without one.

    Returns the signal that arrived meanwhile, None if there was none.
    """
    path, experiment = job.directory.path, job.experiment
    with noted_interrupt() as interrupt:
        try:
            # Imported here, because it imports matplotlib, which takes longer than all of fnet.
            from fnet.run.report import write_report

            file = write_report(path, job.recipe, experiment, params, job.splits, job.runtime)
        except (Exception, KeyboardInterrupt) as error:
            reason = f"{type(error).__name__} {error}".strip().partition("\n")[0]
            later = report_command(job.recipe.origin, path)
            display.say(f"No report: {reason}. To write it later: {later}", "yellow")
        else:
            display.say(f"Report: {file}")
    return interrupt.signal
