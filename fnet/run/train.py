"""A run from its config to the finished run directory: `train` and `resume`."""

import signal
from dataclasses import replace
from pathlib import Path

from fnet.data.load import expanded
from fnet.debug import NonFiniteError
from fnet.nn import Params
from fnet.nn.check import network_of
from fnet.parallel import World
from fnet.run.checkpoint import Restored
from fnet.run.config import Config
from fnet.run.epochs import Trainer
from fnet.run.job import (
    Job,
    begin,
    directory_at,
    locked,
    own_directory,
    require_parts,
    require_same_data,
    restore,
)
from fnet.run.log import open_log
from fnet.run.outcome import Outcome, report_command, resume_hint, say_result
from fnet.run.preprocess_json import preprocess_from_json
from fnet.run.process import map_large_blocks
from fnet.run.recipe import Recipe, build_experiment
from fnet.run.record import read_run
from fnet.run.resume import (
    changed_file,
    check_options,
    same_data,
    same_runtime,
)
from fnet.run.runtime import Runtime, apply_runtime, missing_compiler, resolve
from fnet.run.schema import Result, Status
from fnet.run.signals import noted_interrupt, stop_request
from fnet.run.source import read_source
from fnet.run.splits import open_splits, with_absolute_paths
from fnet.run.start import start_from
from fnet.run.time_to_accuracy import in_percent, time_to
from fnet.show.terminal import Display


def run_name(recipe: Recipe, variant: str, seed: int) -> str:
    """Return the name of the run directory, to which a number is added if there is one already."""
    return f"{recipe.name}-{variant}-s{seed}"


def train(
    recipe: Recipe,
    variant: str,
    config: Config,
    display: Display,
    world: World = World(),  # noqa: B008 (frozen)
    *,
    until: int | None = None,
) -> Outcome:
    """Train the recipe with this config, in a new run directory.

    Args:
        recipe: the recipe.
        variant: the variant, or the label of the run in a sweep.
        config: the options.
        display: shows the training.
        world: the processes. Each calls this function with the same arguments and a `world` of its
            own; the first writes all files.
        until: stop after this epoch with a checkpoint, as after a signal. The schedule stays that
            of `config.epochs`, so a resumed run is the run that was never stopped.

    Raises:
        ConfigError, DataError, ModelError: an error of the user; raised before the training starts.
        CheckpointError: a file of the run cannot be written.
    """

    def ready_runtime() -> Runtime:
        config.validate()
        require_parts(config, world)
        runtime = resolve(
            config.device,
            config.precision,
            config.compile,
            deterministic=config.deterministic,
            world=world,
        )
        _prepare(runtime)
        return runtime

    config = with_absolute_paths(config)
    runtime = world.together(ready_runtime)
    given = start = None
    if config.init_from is not None:
        source = config.init_from
        given = world.together(lambda: read_source(source))
        # Absolute, so that the record can be read from any folder.
        config = replace(config, init_from=str(expanded(source).resolve()))
    with display.live():
        config, splits, stand_in = world.in_turn(lambda: open_splits(recipe.data, config, display))
        require_same_data(splits, world)
        experiment = world.together(lambda: build_experiment(recipe, config, splits))
        if given is not None:
            experiment, start = start_from(given, config, experiment, splits, runtime)
        name = run_name(recipe, variant, config.seed)
        path = world.first(lambda: own_directory(Path(config.out), name, world))
        directory = directory_at(path, world)
        job = Job(
            recipe,
            variant,
            config,
            splits,
            stand_in,
            experiment,
            runtime,
            directory,
            world,
            source=start.loaded.source if start else None,
        )
        with locked(path, world):
            world.first(lambda: begin(job))
            restored = start.save(directory, display) if start else None
            _say_start(job, display)
            return _train_and_conclude(job, display, restored, until)


def resume(
    recipe: Recipe,
    path: Path,
    config: Config,
    display: Display,
    world: World = World(),  # noqa: B008 (frozen)
    *,
    until: int | None = None,
) -> Outcome:
    """Resume the run in a run directory from its last undamaged checkpoint.

    With the run's own config, on the same machine, the result is bit for bit that of a run that was
    never stopped; otherwise a message says what differs.

    Args:
        recipe: the recipe of the run.
        path: the run directory.
        config: the config of the run; see `fnet.run.resume` for what may differ.
        display: shows the training.
        world: the processes, as in `train`.
        until: as in `train`.

    Raises:
        ConfigError, DataError, ModelError: the run cannot be resumed, or not with this config.
        CheckpointError: another process writes to the run, or it has no undamaged checkpoint.
    """
    record = world.first(lambda: read_run(path))
    config = with_absolute_paths(config)

    def compared() -> tuple[Runtime, list[str]]:
        config.validate()
        require_parts(config, world)
        inexact = check_options(record, config, restarted=bool(world.restarts))
        runtime, different = same_runtime(record, config, world)
        _prepare(runtime)
        return runtime, [*inexact, *different, *changed_file(record, recipe)]

    runtime, different = world.together(compared)
    with display.live(), locked(path, world):
        splits = world.in_turn(lambda: same_data(record, config, recipe.data, display))
        experiment = world.together(lambda: build_experiment(recipe, config, splits))
        # The same images from another place are not normalised in another way.
        preprocess = preprocess_from_json(record.setup.preprocess, experiment.preprocess)
        experiment = replace(experiment, preprocess=preprocess)
        job = Job(
            recipe,
            record.variant,
            config,
            splits,
            record.stand_in,
            experiment,
            runtime,
            directory_at(path, world),
            world,
            [*record.inexact, *different],
            record.setup.source,
        )
        _say_start(job, display)
        return _train_and_conclude(job, display, restore(job, record, display), until)


def _prepare(runtime: Runtime) -> None:
    """Apply process-wide settings: malloc and runtime."""
    map_large_blocks()
    apply_runtime(runtime)


def _train_and_conclude(
    job: Job, display: Display, restored: Restored | None = None, until: int | None = None
) -> Outcome:
    """Train from the beginning or from a checkpoint; then write the result and the report."""
    directory, config, world = job.directory, job.config, job.world
    logged = config if world.is_first else replace(config, log=(), log_steps=0)
    log = open_log(logged, f"{job.recipe.name}_{job.variant}", directory.path, display.say)
    trainer = Trainer(
        job.experiment, job.splits, config, job.runtime, directory, display, log, world
    )
    progress = trainer.progress
    status: Status = "diverged"
    reason = ""

    def heard(number: int) -> None:
        again = " Press Ctrl-C again to stop immediately." if number == signal.SIGINT else ""
        display.say(f"Stopping after this step.{again}")

    with stop_request(heard) as stop:
        try:
            status = trainer.run(stop, restored, until)
        except NonFiniteError as error:
            reason = str(error)
        except KeyboardInterrupt:
            hint = resume_hint(job.recipe, directory.path, world.size)
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
    interrupted = _write_report(job, params, display) if world.is_first else None
    outcome = Outcome(
        status,
        # A signal that arrived after the last step still ends the command, and a study.
        stop.signal or interrupted,
        directory.path,
        result.data,
        result.stand_in,
        result.final,
        result.best,
        world.size,
    )
    say_result(job.recipe, outcome, step, result.reported, display)
    return outcome


def _reported(job: Job) -> dict[str, str]:
    """Return the author's figures, where the run is on the author's data."""
    if job.stand_in or job.config.data not in ("auto", job.recipe.data):
        return {}
    return dict(job.recipe.reported.get(job.recipe.variant(job.variant), {}))


def _say_start(job: Job, display: Display) -> None:
    config, runtime, splits = job.config, job.runtime, job.splits
    size = sum(shape.numel() for shape in network_of(job.experiment.model).shapes.values())
    display.say(
        f"{job.recipe.name} ({job.variant}): {size:,} parameters, {len(splits.train):,} images of "
        f"{splits.train.name}, {config.epochs} {'epoch' if config.epochs == 1 else 'epochs'} of "
        f"batches of {config.batch_size}, on {runtime.device} in {runtime.precision}"
        + (f", {job.world.size} processes" if job.world.size > 1 else "")
    )
    if config.compile and not runtime.compiled:
        display.say(f"Steps run eagerly, which is slower: this machine has {missing_compiler()}.")


def _write_report(job: Job, params: Params | None, display: Display) -> int | None:
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
