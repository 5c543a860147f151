"""Run an experiment from its config to its run directory, showing how it goes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from fnet import random, tree
from fnet.allocator import keep_freed_memory
from fnet.config import Config
from fnet.data import Preprocess
from fnet.display import Display
from fnet.environment import ConfigError, Runtime, describe, missing_compiler, resolve
from fnet.experiment import Experiment, Recipe
from fnet.logging import open_log
from fnet.nn import Params, check
from fnet.record import measured
from fnet.rundir import RunDirectory
from fnet.splits import Splits, open_splits
from fnet.trainer import Trainer


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: "complete", or "interrupted" by Ctrl-C.
        directory: the run's directory.
        data: the name of the data set.
        stand_in: whether that stands in for the recipe's own.
        final: the metrics line of the last whole epoch, None if there is none.
        best: that of the best epoch.
    """

    status: Literal["complete", "interrupted"]
    directory: Path
    data: str
    stand_in: bool
    final: dict[str, Any] | None
    best: dict[str, Any] | None


def train(recipe: Recipe, variant: str, config: Config, display: Display) -> Outcome:
    """Run the recipe with this config.

    Raises:
        ConfigError, DataError, ModelError: what the user asked for cannot be; before any training.
    """
    config.validate()
    keep_freed_memory()
    with display.live():
        return _train(recipe, variant, config, display)


def _train(recipe: Recipe, variant: str, config: Config, display: Display) -> Outcome:
    runtime = resolve(config.device, config.precision, config.compile)
    config, splits, stand_in = open_splits(recipe.data, config, display)
    experiment = _build(recipe, config, splits)
    directory = RunDirectory(Path(config.out), f"{recipe.name}-{variant}-s{config.seed}")
    directory.write_json(
        "config.json",
        {
            "recipe": f"recipes.{recipe.name}",
            "variant": variant,
            "config": asdict(config),
            "data": splits.train.name,
            "stand_in": stand_in,
            "train_images": len(splits.train),
            "test_images": len(splits.test),
            "classes": splits.train.classes,
            "input_shape": splits.input_shape,
            "preprocess": _record(experiment.preprocess),
        },
    )
    directory.write_json("environment.json", describe(runtime))
    size = tree.size(experiment.model.init(random.key(0)).trainable)
    display.say(
        f"{recipe.name} ({variant}): {size:,} parameters, {len(splits.train):,} images of "
        f"{splits.train.name}, {config.epochs} epochs of batches of {config.batch_size}, "
        f"on {runtime.device} in {runtime.precision}"
    )
    if config.compile and not runtime.compiled:
        display.say(f"Steps run eagerly, and slower: this machine has {missing_compiler()}.")

    log = open_log(config, f"{recipe.name}_{variant}", directory.path, display.say)
    trainer = Trainer(experiment, splits, config, runtime, directory, display, log)
    interrupted = False
    try:
        trainer.run()
    except KeyboardInterrupt:
        interrupted = True
    if trainer.record is not None:
        trainer.save("final", trainer.record)
    outcome = Outcome(
        "interrupted" if interrupted else "complete",
        directory.path,
        splits.train.name,
        stand_in,
        trainer.last,
        trainer.best,
    )
    step = trainer.record.step if trainer.record else 0
    reported = recipe.reported.get(variant, {})
    directory.write_json(
        "result.json",
        {
            "status": outcome.status,
            "step": step,
            "data": outcome.data,
            "stand_in": stand_in,
            "final": outcome.final,
            "best": outcome.best,
            "reported": dict(reported),
        },
    )
    params = trainer.eval_params(trainer.record) if trainer.record else None
    _write_report(directory.path, recipe, experiment, params, splits, runtime, display)
    _say_result(recipe, outcome, step, reported, display)
    return outcome


def _write_report(
    path: Path,
    recipe: Recipe,
    experiment: Experiment,
    params: Params | None,
    splits: Splits,
    runtime: Runtime,
    display: Display,
) -> None:
    """Write the run's report; whatever goes wrong with it, the run is over and stays as it is."""
    try:
        # Here, for it imports matplotlib, which takes longer than all of fnet.
        from fnet.report import write_report

        file = write_report(path, recipe, experiment, params, splits, runtime)
    except (Exception, KeyboardInterrupt) as error:
        reason = f"{type(error).__name__} {error}".partition("\n")[0]
        display.say(f"No report: {reason}. Later: python -m recipes.report {path}", "yellow")
    else:
        display.say(f"Report: {file}")


def _build(recipe: Recipe, config: Config, splits: Splits) -> Experiment:
    """Return the experiment, once its parts are seen to fit each other and the data."""
    try:
        experiment = recipe.build(config, splits)
        classes = check(experiment.model, splits.input_shape)
        experiment.loss(torch.zeros(1, classes), torch.zeros(1, dtype=torch.int64))
        experiment.preprocess(splits.train.images[:1])
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return experiment


def _record(preprocess: Preprocess) -> Any:
    if is_dataclass(preprocess) and not isinstance(preprocess, type):
        return asdict(preprocess)
    return repr(preprocess)


def _say_result(
    recipe: Recipe, outcome: Outcome, step: int, reported: Mapping[str, str], display: Display
) -> None:
    where = f"on {outcome.data}"
    if outcome.stand_in:
        where += f", a stand-in for {recipe.data} and no result of {recipe.name}"
    final, best = outcome.final, outcome.best
    # The author's figures are beside fnet's only where both are of the same data.
    reported = {} if outcome.stand_in else reported
    figures = measured(final, best)
    if figures:
        display.table(
            f"{recipe.name} {where}",
            ["figure", "reported by the author", "measured"],
            [[name, reported.get(name, "-"), f"{value:.2%}"] for name, value in figures.items()],
        )
    if outcome.status == "interrupted":
        reached = f"after step {step}: its weights are kept"
        if not step:
            reached = "before the first step: there are no weights to keep"
        display.say(f"Stopped {reached}. Run: {outcome.directory}")
    elif final is not None:
        display.say(f"Test accuracy {final['test_accuracy']:.2%} {where}. Run: {outcome.directory}")
