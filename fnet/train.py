"""Run an experiment from its config to its run directory, showing how it goes."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fnet import data, metrics, random, tree
from fnet.allocator import keep_freed_memory
from fnet.config import Config
from fnet.display import Display
from fnet.environment import ConfigError, Runtime, describe, missing_compiler, resolve
from fnet.experiment import Experiment, Recipe
from fnet.loop import Record, evaluate, fit
from fnet.nn import Params, check
from fnet.optim import get_hyper
from fnet.rundir import RunDirectory
from fnet.splits import Splits, open_splits
from fnet.step import compile, make_eval, make_grad, make_step

EVAL_BATCH = 500


class Throughput:
    """Images per second since the last restart."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Count anew from now."""
        self._images, self._since = 0, time.monotonic()

    def add(self, images: int) -> None:
        """Count these images."""
        self._images += images

    @property
    def per_second(self) -> float:
        """Images counted since the restart, by the seconds since then."""
        return self._images / max(time.monotonic() - self._since, 1e-9)


class Trainer:
    """One run: it trains, evaluates after each epoch, and keeps what was reached.

    Attributes:
        record: where the run is, None before the first step.
        last: the metrics line of the last whole epoch, None before the first ends.
        best: the line of the epoch with the best test accuracy, None before the first ends.
    """

    def __init__(
        self,
        experiment: Experiment,
        splits: Splits,
        config: Config,
        runtime: Runtime,
        directory: RunDirectory,
        display: Display,
    ) -> None:
        self._experiment, self._config, self._runtime = experiment, config, runtime
        self._directory, self._display = directory, display
        self._train = splits.train.to(runtime.device)
        self._test = splits.test.to(runtime.device)
        self.record: Record | None = None
        self.last: dict[str, Any] | None = None
        self.best: dict[str, Any] | None = None

        compiled: Callable[..., Any] = compile if runtime.compiled else lambda fn: fn
        model, loss, preprocess = experiment.model, experiment.loss, experiment.preprocess
        grad_fn = make_grad(
            model, loss, preprocess=preprocess, augment=experiment.augment, dtype=runtime.dtype
        )
        self._step = compiled(make_step(grad_fn, experiment.tx))
        self._eval = compiled(make_eval(model, loss, preprocess=preprocess, dtype=runtime.dtype))

    def run(self) -> None:
        """Train for the epochs of the config, leaving `record`, `last` and `best` behind."""
        size, epochs = self._config.batch_size, self._config.epochs
        init_key, data_key = random.split(random.key(self._config.seed, self._runtime.device))
        params = self._experiment.model.init(init_key)
        opt_state = self._experiment.tx.init(params.trainable)
        steps = data.steps_per_epoch(len(self._train), size)
        if self._runtime.compiled:
            self._display.say("Compiling: a minute or two the first time, seconds from then on.")
        started, throughput = time.monotonic(), Throughput()
        for record in fit(
            self._step, params, opt_state, data_key, self._train, size=size, epochs=epochs
        ):
            self.record = record
            if record.step == 1:
                throughput.restart()  # what came before was compiling
            else:
                throughput.add(size)
            note = f"{throughput.per_second:,.0f} images/s"
            self._display.progress("epoch", record.step - record.epoch * steps, steps, note)
            self._display.progress("run", record.step, steps * epochs)
            if record.epoch_done:
                means = metrics.means(record.metrics)
                self._finish_epoch(record, means, throughput.per_second, started)
                self._display.restart("epoch")
                started = time.monotonic()
                throughput.restart()

    def _finish_epoch(
        self, record: Record, train: dict[str, float], speed: float, started: float
    ) -> None:
        test = self._test_metrics(self.eval_params(record))
        rate = get_hyper(record.opt_state, self._experiment.learning_rate)
        line = {
            "epoch": record.epoch + 1,
            "step": record.step,
            **{f"train_{name}": value for name, value in train.items()},
            **{f"test_{name}": value for name, value in test.items()},
            "learning_rate": float(rate),
            "seconds": round(time.monotonic() - started, 3),
            "images_per_second": round(speed, 1),
        }
        self._directory.append_metrics(line)
        self._display.epoch(line, self._config.epochs)
        self.last = line
        if self.best is None or line["test_accuracy"] > self.best["test_accuracy"]:
            self.best = line
            self.save("best", record)

    def _test_metrics(self, params: Params) -> dict[str, float]:
        size = min(EVAL_BATCH, len(self._test))
        return metrics.means(evaluate(self._eval, params, self._test, size=size))

    def eval_params(self, record: Record) -> Params:
        """Return the parameters that are evaluated and saved."""
        return self._experiment.eval_params(record.params, record.opt_state)

    def save(self, name: str, record: Record) -> None:
        """Write the weights of a record to the run directory."""
        self._directory.write_weights(name, self._experiment.model, self.eval_params(record))


def train(recipe: Recipe, variant: str, config: Config, display: Display) -> int:
    """Run the recipe with this config and return the exit code: 0, or 130 after Ctrl-C.

    Raises:
        ConfigError, DataError, ModelError: what the user asked for cannot be; before any training.
    """
    config.validate()
    keep_freed_memory()
    with display.live():
        return _train(recipe, variant, config, display)


def _train(recipe: Recipe, variant: str, config: Config, display: Display) -> int:
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
            "preprocess": asdict(experiment.preprocess),
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

    trainer = Trainer(experiment, splits, config, runtime, directory, display)
    interrupted = False
    try:
        trainer.run()
    except KeyboardInterrupt:
        interrupted = True
    if trainer.record is not None:
        trainer.save("final", trainer.record)
    result = {
        "status": "interrupted" if interrupted else "complete",
        "step": trainer.record.step if trainer.record else 0,
        "data": splits.train.name,
        "stand_in": stand_in,
        "final": trainer.last,
        "best": trainer.best,
        "reported": experiment.reported,
    }
    directory.write_json("result.json", result)
    _say_result(recipe, result, directory, display)
    return 130 if interrupted else 0


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


def _say_result(
    recipe: Recipe, result: dict[str, Any], directory: RunDirectory, display: Display
) -> None:
    where = f"on {result['data']}"
    if result["stand_in"]:
        where += f", a stand-in for {recipe.data} and no result of {recipe.name}"
    final, best = result["final"], result["best"]
    # The author's figures are beside fnet's only where both are of the same data.
    reported = {} if result["stand_in"] else result["reported"]
    if final is not None:
        measured = {
            "test accuracy, final": final["test_accuracy"],
            "test accuracy, best epoch": best["test_accuracy"],
            "train accuracy, final": final["train_accuracy"],
        }
        display.table(
            f"{recipe.name} {where}",
            ["figure", "reported by the author", "measured"],
            [[name, reported.get(name, "-"), f"{value:.2%}"] for name, value in measured.items()],
        )
    if result["status"] == "interrupted":
        reached = f"after step {result['step']}: its weights are kept"
        if not result["step"]:
            reached = "before the first step: there are no weights to keep"
        display.say(f"Stopped {reached}. Run: {directory.path}")
    else:
        display.say(f"Test accuracy {final['test_accuracy']:.2%} {where}. Run: {directory.path}")
