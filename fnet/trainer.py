"""One run of an experiment: it trains, evaluates after each epoch, and keeps what was reached."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fnet import data, metrics, random
from fnet.config import Config
from fnet.data import Dataset
from fnet.display import Display
from fnet.environment import Runtime
from fnet.evaluation import EVAL_BATCH
from fnet.experiment import Experiment
from fnet.logging import RunLog, Start
from fnet.loop import Record, evaluate, fit
from fnet.nn import Params, to_module
from fnet.optim import get_hyper, set_hyper
from fnet.rundir import RunDirectory
from fnet.splits import Splits
from fnet.step import compile, make_eval, make_grad, make_step
from fnet.tree import Tree

SAMPLES = 32


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
        best: the line of the epoch with the best accuracy on the validation images, or where
            there are none on the test images; None before the first ends.
    """

    def __init__(
        self,
        experiment: Experiment,
        splits: Splits,
        config: Config,
        runtime: Runtime,
        directory: RunDirectory,
        display: Display,
        log: RunLog,
    ) -> None:
        self._experiment, self._config, self._runtime = experiment, config, runtime
        self._directory, self._display, self._log = directory, display, log
        self._train = splits.train.to(runtime.device)
        self._tests = {"test": splits.test.to(runtime.device)}
        if splits.validation is not None:
            self._tests["validation"] = splits.validation.to(runtime.device)
        self._chosen_by = f"{'validation' if splits.validation is not None else 'test'}_accuracy"
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
        plateau = self._experiment.plateau
        plateau_state = plateau.init() if plateau else None
        steps = data.steps_per_epoch(len(self._train), size)
        if self._runtime.compiled:
            self._display.say("Compiling: a minute or two the first time, seconds from then on.")
        try:
            self._log.start(self._start(params))
            for epoch in range(epochs):
                line = self._epoch(epoch, params, opt_state, data_key, steps)
                params, opt_state = self.record.params, self.record.opt_state  # type: ignore[union-attr]
                if plateau and plateau_state:
                    scale, plateau_state = plateau.update(line["train_loss"], plateau_state)
                    opt_state = set_hyper(opt_state, self._lr_scale, scale)
        finally:
            self._log.close()

    def _start(self, params: Params) -> Start:
        """Return what the loggers can show of the run before its first step."""
        images = self._train.images[:: max(1, len(self._train) // SAMPLES)][:SAMPLES]
        return Start(
            config=asdict(self._config),
            images=images,
            example=self._experiment.preprocess(images[:1]),
            module=lambda: to_module(self._experiment.model, params),
        )

    def _epoch(
        self, epoch: int, params: Params, opt_state: Tree, key: Any, steps: int
    ) -> dict[str, Any]:
        """Train for one epoch, evaluate, write and return its line."""
        size, epochs = self._config.batch_size, self._config.epochs
        started, throughput = time.monotonic(), Throughput()
        self._display.restart("epoch")
        for record in fit(
            self._step,
            params,
            opt_state,
            key,
            self._train,
            size=size,
            epochs=epoch + 1,
            start=epoch * steps,
        ):
            self.record = record
            self._log.step(record)
            if record.step == 1:
                throughput.restart()  # what came before was compiling
            else:
                throughput.add(size)
            note = f"{throughput.per_second:,.0f} images/s"
            self._display.progress("epoch", record.step - epoch * steps, steps, note)
            self._display.progress("run", record.step, steps * epochs)
        train = metrics.means(record.metrics)
        speed = throughput.per_second
        line = {
            "epoch": epoch + 1,
            "step": record.step,
            **{f"train_{name}": value for name, value in train.items()},
            **self._evaluations(self.eval_params(record)),
            "learning_rate": self._learning_rate(record.opt_state),
            "seconds": round(time.monotonic() - started, 3),
            "images_per_second": round(speed, 1),
        }
        self._directory.append_metrics(line)
        self._display.epoch(line, epochs)
        self._log.epoch(line)
        self.last = line
        if self.best is None or line[self._chosen_by] > self.best[self._chosen_by]:
            self.best = line
            self.save("best", record)
        return line

    def _evaluations(self, params: Params) -> dict[str, float]:
        def means(dataset: Dataset) -> dict[str, float]:
            size = min(EVAL_BATCH, len(dataset))
            return metrics.means(evaluate(self._eval, params, dataset, size=size))

        return {
            f"{split}_{name}": value
            for split, dataset in self._tests.items()
            for name, value in means(dataset).items()
        }

    @property
    def _lr_scale(self) -> str:
        """The name of the scale beside the learning rate: "muon/lr_scale"."""
        group, slash, _ = self._experiment.learning_rate.rpartition("/")
        return f"{group}{slash}lr_scale"

    def _learning_rate(self, opt_state: Tree) -> float:
        rate = get_hyper(opt_state, self._experiment.learning_rate)
        return float(rate * get_hyper(opt_state, self._lr_scale))

    def eval_params(self, record: Record) -> Params:
        """Return the parameters that are evaluated and saved."""
        return self._experiment.eval_params(record.params, record.opt_state)

    def save(self, name: str, record: Record) -> None:
        """Write the weights of a record to the run directory."""
        self._directory.write_weights(name, self._experiment.model, self.eval_params(record))
