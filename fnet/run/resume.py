"""Taking up a run where it stopped: what has to be as it was, and how exact the result is."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from fnet.run.checkpoint import CheckpointError, Restored
from fnet.run.config import Config, ConfigError, option
from fnet.run.recipe import Recipe
from fnet.run.record import RunRecord
from fnet.run.runtime import Runtime, describe, missing_compiler, resolve
from fnet.run.schema import Note, config_from_json
from fnet.run.splits import STAND_IN, Splits, open_splits
from fnet.run.time_to_accuracy import is_reached
from fnet.run.typed_json import from_json
from fnet.show.terminal import Display

MAY_CHANGE = ("root", "checkpoint_minutes", "log", "log_steps", "log_graph", "visdom", "target")
"""Options that change nothing in what is computed."""
INEXACT = ("epochs", "device", "on_nonfinite")
"""Options that may change, but the run is then not the one that was never stopped."""
_SAME_BITS = ("cpu", "gpu", "torch", "torchvision", "numpy")


def check_options(record: RunRecord, given: Config) -> list[str]:
    """Return what makes the resumed run another than the one that was never stopped.

    Raises:
        ConfigError: an option differs that may not, or the run is complete.
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
                f"{option(name)} is {was!r} in this run, and a resumed run keeps its options: "
                f"leave {option(name)} out, or begin a new run (what may change: {allowed})"
            )
        inexact.append(f"{option(name)} {now} (was {was})")
    if record.status == "complete" and given.epochs <= len(record.lines):
        raise ConfigError(
            f"the run {record.path} is complete: there is nothing to go on with, but more --epochs"
        )
    if record.status == "stopped at target" and is_reached(given.target, record.lines):
        raise ConfigError(
            f"the run {record.path} has reached its target: to go on, give a higher --target, or "
            "--target None"
        )
    return inexact


def same_runtime(record: RunRecord, config: Config) -> tuple[Runtime, list[str]]:
    """Return what the run computed on, and what is not the same on this machine.

    Only the device may be another one, with `--device`.

    Raises:
        ConfigError: the run's environment is not known, or its device is not there.
    """
    was = record.environment
    device = was.get("device") if config.device == record.config.get("device") else config.device
    precision, compiled, threads = (was.get(name) for name in ("precision", "compiled", "threads"))
    match device, precision, compiled, threads:
        case str(), "bf16" | "fp32", bool(), int() if 0 < threads <= 4096:
            pass
        case _:
            raise ConfigError(
                f"{record.path / 'environment.json'} is missing or damaged: it says how the run "
                "computes, so the run cannot be resumed: bring the file back from a copy"
            )
    runtime = resolve(device, precision, compiled, deterministic=config.deterministic)
    runtime = replace(runtime, threads=threads)
    now: dict[str, Any] = describe(runtime)
    different = [
        f"{name} {now[name]} (was {was.get(name)})"
        for name in _SAME_BITS
        if now[name] != was.get(name)
    ]
    if runtime.device != "cpu" and not runtime.deterministic:
        different.append(f"{runtime.device} without --deterministic")
    if compiled and not runtime.compiled:
        different.append(f"steps run eagerly ({missing_compiler()})")
    return runtime, different


def changed_file(record: RunRecord, recipe: Recipe) -> list[str]:
    """Return what to say where the recipe is a file with other content than the run's."""
    was, now = record.setup.origin, recipe.origin
    changed = bool(was.checksum and now.checksum) and was.checksum != now.checksum
    return [f"{Path(now.name).name} has changed"] if changed else []


def same_data(record: RunRecord, config: Config, recipe_data: str, display: Display) -> Splits:
    """Return the data that the run was trained on, and no stand-in for it.

    Raises:
        ConfigError, DataError: it cannot be had, or has changed since.
    """
    if config.data == "auto":
        config = replace(config, data=STAND_IN if record.stand_in else recipe_data)
    _, splits, _ = open_splits(recipe_data, config, display)
    if splits.checksum != record.setup.data_checksum:
        raise ConfigError(
            f"the images of {splits.train.name} are not those that the run {record.path} was "
            "trained on: they have changed since, --root names others, or an older version made "
            "the run"
        )
    return splits


def require_checkpoint(restored: Restored | None, record: RunRecord, steps: int) -> Note | None:
    """Return the note of what was restored, once a run is seen to be able to go on from there.

    Before anything of it is written anew. None where the run begins again.

    Args:
        restored: its last good checkpoint, or None where there is none.
        record: the run's.
        steps: how many it is to have in the end.

    Raises:
        CheckpointError: there is no checkpoint, but there was one; or it is not of a training run.
        ConfigError: the run has come further than it is to go.
    """
    if restored is None:
        if record.status != "unfinished" or len(record.lines) > 1:
            raise CheckpointError(
                f"the run {record.path} has results, but no checkpoint to go on from: bring its "
                "checkpoints back, or begin a new run"
            )
        return None
    try:
        note = from_json(Note, restored.note)
    except ValueError as error:
        raise CheckpointError(
            f"the last checkpoint of {record.path} is not that of a training run (its note "
            f"{error}): begin a new run"
        ) from error
    if restored.step > steps:
        raise ConfigError(
            f"the run {record.path} has done {restored.step} steps, and --epochs leaves {steps}: "
            "give more epochs"
        )
    return note


def say_resumed(restored: Restored | None, inexact: Sequence[str], display: Display) -> None:
    """Print where the run goes on from, and how exact the result is."""
    for damaged in restored.damaged if restored else ():
        display.say(f"Passed over: {damaged}", "yellow")
    where = f"after step {restored.step}" if restored else "from the beginning: nothing was kept"
    how = "bit for bit the run that was never stopped"
    if inexact:
        how = f"not exactly the run that was never stopped: {', '.join(inexact)}"
    display.say(f"Resumed {where}; {how}.")
