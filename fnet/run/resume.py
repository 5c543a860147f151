"""The rules of resuming a run: what must be the same, what may differ, how exact the result is."""

import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from fnet.parallel import World
from fnet.run.checkpoint import CheckpointError, Restored
from fnet.run.config import Config, ConfigError, option
from fnet.run.directory import ENVIRONMENT, REPORT
from fnet.run.outcome import report_command
from fnet.run.recipe import Recipe
from fnet.run.record import RunRecord
from fnet.run.runtime import Runtime, describe, missing_compiler, resolve
from fnet.run.schema import Note, config_from_json
from fnet.run.splits import STAND_IN, Splits, open_splits, require_in_place
from fnet.run.time_to_accuracy import is_reached
from fnet.run.typed_json import from_json
from fnet.show.terminal import Display

MAY_CHANGE = (
    *("data", "root", "checkpoint_minutes", "log", "log_steps", "log_graph", "visdom", "target"),
)
"""Options that may differ, because they do not affect the computation: the images must be the same,
whatever the place that they are read from."""
INEXACT = ("epochs", "device", "on_nonfinite")
"""Options that may differ, but then the result is not that of a run that was never stopped."""
_SAME_BITS = ("processes", "cpu", "gpu", "torch", "torchvision", "numpy")


def check_options(record: RunRecord, given: Config, *, restarted: bool = False) -> list[str]:
    """Return the options that make the resumed run differ from one that was never stopped.

    With `restarted`, torchrun has started the command again: then also a complete run is resumed,
    which writes what was not yet written when a process died.

    Raises:
        ConfigError: an option differs that must not, or the run is complete.
    """
    own = config_from_json(type(given), record.config)
    inexact = []
    for field in fields(own):
        name, was, now = field.name, getattr(own, field.name), getattr(given, field.name)
        if now == was or name in MAY_CHANGE:
            continue
        if name not in INEXACT:
            allowed = ", ".join(map(option, (*MAY_CHANGE, *INEXACT)))
            raise ConfigError(
                f"{option(name)} is {was!r} in this run, and a resumed run keeps its options: do "
                f"not give {option(name)}, or start a new run (options that may change: {allowed})"
            )
        inexact.append(f"{option(name)} {now} (was {was})")
    if restarted:
        return inexact
    if record.status == "complete" and given.epochs <= len(record.lines):
        more = "to train it longer, give more --epochs"
        if not os.path.lexists(record.path / REPORT):
            later = report_command(record.setup.origin, record.path)
            more += f"; its report was not written: {later}"
        raise ConfigError(f"the run {record.path} is complete: {more}")
    if record.status == "stopped at target" and is_reached(given.target, record.lines):
        raise ConfigError(
            f"the run {record.path} has reached its target: give a higher --target to continue, or "
            "--target None"
        )
    return inexact


def same_runtime(
    record: RunRecord,
    config: Config,
    world: World = World(),  # noqa: B008 (frozen)
) -> tuple[Runtime, list[str]]:
    """Return the recorded runtime of the run, and what differs on this machine.

    Only the device may be changed, with `--device`, and the number of processes, with torchrun.

    Raises:
        ConfigError: the run's environment is not known, or there is no such device.
    """
    was = record.environment
    if was is None:
        where = f"{record.path / ENVIRONMENT} is missing or damaged"
        if not record.begun:
            raise ConfigError(
                f"{where}, and the run was stopped before its first epoch ended: there is nothing "
                f"to resume. Start a new run: {record.setup.origin.command}"
            )
        raise ConfigError(
            f"{where}. It records the device and the precision of the run, so the run cannot be "
            "resumed: restore the file from a backup, or start a new run"
        )
    device = was.device if config.device == record.config.get("device") else config.device
    if world.size > 1 and device.startswith("cuda"):
        device = "cuda"  # the record has that of the first process
    runtime = resolve(
        device, was.precision, was.compiled, deterministic=config.deterministic, world=world
    )
    if runtime.processes == was.processes:
        runtime = replace(runtime, threads=was.threads)
    now = describe(runtime)
    different = [
        f"{name} {getattr(now, name)} (was {getattr(was, name)})"
        for name in _SAME_BITS
        if getattr(now, name) != getattr(was, name)
    ]
    if runtime.device != "cpu" and not runtime.deterministic:
        different.append(f"{runtime.device} without --deterministic")
    if was.compiled and not runtime.compiled:
        different.append(f"steps run eagerly ({missing_compiler()})")
    return runtime, different


def changed_file(record: RunRecord, recipe: Recipe) -> list[str]:
    """Return a message if the recipe is a file that has changed since the run started."""
    was, now = record.setup.origin, recipe.origin
    changed = bool(was.checksum and now.checksum) and was.checksum != now.checksum
    return [f"{Path(now.name).name} has changed"] if changed else []


def same_data(record: RunRecord, config: Config, recipe_data: str, display: Display) -> Splits:
    """Return the data that the run was trained on, never a new stand-in.

    Raises:
        ConfigError, DataError: the data are not available, or have changed.
    """
    if config.data == "auto":
        config = replace(config, data=STAND_IN if record.stand_in else recipe_data)
    require_in_place(config, record.path)
    _, splits, _ = open_splits(recipe_data, config, display)
    if not splits.has_checksum(record.setup.data_checksum):
        raise ConfigError(
            f"the images of {splits.train.name} ({config.data}) are not those that the run "
            f"{record.path} was trained on: they have changed, --data or --root points to others, "
            "or the run is from an older version of fnet. Restore the images, give --data the "
            "place where they are now, or start a new run"
        )
    return splits


def require_checkpoint(restored: Restored | None, record: RunRecord, steps: int) -> Note | None:
    """Check that the run can be resumed from this checkpoint, and return the checkpoint's note.

    To be called before any file of the run is changed. The result is None if the run restarts from
    the beginning.

    Args:
        restored: the last undamaged checkpoint, or None if there is none.
        record: the record of the run.
        steps: the number of steps of the complete run.

    Raises:
        CheckpointError: the checkpoints are gone, or the last one is not of a training run.
        ConfigError: the run has already done more steps than this.
    """
    if restored is None:
        if record.status != "unfinished" or len(record.lines) > 1:
            raise CheckpointError(
                f"the run {record.path} has results, but no checkpoint to resume from: restore its "
                "checkpoints from a backup, or start a new run"
            )
        return None
    try:
        note = from_json(Note, restored.note)
    except ValueError as error:
        raise CheckpointError(
            f"the last checkpoint of {record.path} is not one of a training run (its note "
            f"{error}): start a new run"
        ) from error
    if restored.step > steps:
        raise ConfigError(
            f"the run {record.path} has already done {restored.step} steps, more than the {steps} "
            "of --epochs: give more epochs"
        )
    return note


def say_resumed(restored: Restored | None, inexact: Sequence[str], display: Display) -> None:
    """Print from which step the run is resumed, and how exact the result is."""
    for damaged in restored.damaged if restored else ():
        display.say(f"Checkpoint skipped: {damaged}", "yellow")
    where = f"after step {restored.step}" if restored else "from the beginning (no checkpoint)"
    how = "the result is bit for bit that of a run that was never stopped"
    if inexact:
        how = f"the result is not exactly that of a run never stopped: {', '.join(inexact)}"
    display.say(f"Resumed {where}; {how}.")
