"""One run of an experiment: it trains, evaluates after each epoch, and keeps what was reached."""

import shlex
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from fnet import data, metrics, random
from fnet.best_weights import best_problem
from fnet.checkpoint import Restored
from fnet.config import Config
from fnet.data import Dataset
from fnet.debug import NonFiniteError, check_finite
from fnet.display import Display
from fnet.environment import Runtime
from fnet.evaluation import EVAL_BATCH
from fnet.experiment import Experiment
from fnet.logging import RunLog, Start
from fnet.loop import Record, evaluate, fit
from fnet.nn import Params, to_module
from fnet.optim import get_hyper, set_hyper
from fnet.rundir import RunDirectory
from fnet.signals import StopRequest
from fnet.splits import Splits
from fnet.step import compile, make_eval, make_grad, make_step, skip_nonfinite
from fnet.throughput import Throughput
from fnet.training_state import Note, State, has_finite_loss, has_finite_params
from fnet.tree import Tree

SAMPLES = 32
# Steps from one look at the loss to the next: on a GPU a look waits for all steps before it.
_LOOK = {"cpu": 1, "gpu": 50}


class Trainer:
    """One run: it trains, evaluates after each epoch, and keeps what was reached.

    Attributes:
        steps_per_epoch: how many steps an epoch has.
        record: where the run is, None before the first step.
        lines: the metrics line of each whole epoch.
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
        self.steps_per_epoch = data.steps_per_epoch(len(self._train), config.batch_size)
        self._look = _LOOK["cpu" if runtime.device == "cpu" else "gpu"]
        self._saved_at = time.monotonic()
        self.record: Record | None = None
        self.lines: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None

        compiled: Callable[..., Any] = compile if runtime.compiled else lambda fn: fn
        model, loss, preprocess = experiment.model, experiment.loss, experiment.preprocess
        grad_fn = make_grad(
            model, loss, preprocess=preprocess, augment=experiment.augment, dtype=runtime.dtype
        )
        step = make_step(grad_fn, experiment.tx)
        self._step = compiled(skip_nonfinite(step) if config.on_nonfinite == "skip" else step)
        self._eval = compiled(make_eval(model, loss, preprocess=preprocess, dtype=runtime.dtype))

    def initial(self) -> State:
        """Return the state before the first step: that of every run of this config."""
        init_key, data_key = random.split(random.key(self._config.seed, self._runtime.device))
        params = self._experiment.model.init(init_key)
        plateau = self._experiment.plateau
        return State(
            params,
            self._experiment.tx.init(params.trainable),
            data_key,
            plateau.init() if plateau else None,
        )

    def run(self, stop: StopRequest, restored: Restored | None = None) -> bool:
        """Train to the last epoch; return whether that was reached before a request to stop.

        Args:
            stop: ends the run after the step that is under way.
            restored: the checkpoint to go on from, None: begin.

        Raises:
            NonFiniteError: the loss or a parameter is not finite; the state before is saved.
        """
        state, record, seconds = self._begin(restored)
        self._mend_best(record)
        if self._runtime.compiled:
            self._display.say("Compiling: a minute or two the first time, seconds from then on.")
        try:
            self._log.start(self._start(record), record.metrics)
            while record.epoch < self._config.epochs:
                started = time.monotonic() - seconds
                record, speed, stopping = self._train_epoch(state, record, started, stop)
                state = state._replace(params=record.params, opt_state=record.opt_state)
                if stopping:
                    self._save(state, record, time.monotonic() - started)
                    return False
                state = self._end_epoch(state, record, started, speed)
                record, seconds = self._at(state, record.step), 0.0
                self._save(state, record, seconds)
                if stop and record.epoch < self._config.epochs:
                    return False
        finally:
            self._log.close()
        return True

    def _begin(self, restored: Restored | None) -> tuple[State, Record, float]:
        """Return the state, where it is, and for how many seconds its epoch has gone on."""
        if restored is None:
            state = self.initial()
            return state, self._at(state, 0), 0.0
        state, note = restored.state, Note(**restored.note)
        sums = {
            name: torch.tensor(value, dtype=torch.float64, device=self._runtime.device)
            for name, value in note.sums.items()
        }
        self.lines = note.lines
        self.best = self.lines[note.best - 1] if note.best else None
        # With sums the epoch is not written down yet, even where its last step is done.
        self.record = self._at(state, restored.step)._replace(metrics=sums, epoch=len(self.lines))
        return state, self.record, note.seconds

    def _mend_best(self, record: Record) -> None:
        """Write the best weights again, or say why not, where those on disk are others."""
        best = self.best["epoch"] if self.best else None
        # With sums, steps of the next epoch have changed the weights since.
        at_hand = best == record.epoch and not record.metrics
        file = self._directory.path / "best.safetensors"
        problem = best_problem(file, best, record.epoch, at_hand=at_hand)
        if problem:
            self._display.say(problem, "yellow")
            if at_hand:
                self.write_weights("best", record)

    def _at(self, state: State, step: int) -> Record:
        return Record(step, step // self.steps_per_epoch, False, state.params, state.opt_state, {})

    def _start(self, record: Record) -> Start:
        """Return what the loggers can show of the run before it goes on."""
        images = self._train.images[:: max(1, len(self._train) // SAMPLES)][:SAMPLES]
        return Start(
            config=asdict(self._config),
            images=images,
            example=self._experiment.preprocess(images[:1]),
            module=lambda: to_module(self._experiment.model, record.params),
            step=record.step,
            epoch=len(self.lines),
        )

    def _train_epoch(
        self, state: State, record: Record, started: float, stop: StopRequest
    ) -> tuple[Record, float, bool]:
        """Train for the rest of an epoch, or until asked to stop.

        Returns where that ended, the images a second, and whether it was asked to stop.
        """
        epoch, throughput, stopping = record.epoch, Throughput(), False
        # From the last looked at to one whose parameters were looked at as well.
        good = [record, record, record]
        self._display.restart("epoch")
        first = record.step + 1
        records = self._fit(self._step, state.key, record)
        for record in records:
            self.record = record
            self._log.step(record)
            if record.step == first:
                throughput.restart()  # what came before was compiling
            else:
                throughput.add(self._config.batch_size)
            note = f"{throughput.per_second:,.0f} images/s"
            in_epoch = record.step - epoch * self.steps_per_epoch
            self._display.progress("epoch", in_epoch, self.steps_per_epoch, note)
            self._display.progress("run", record.step, self.steps_per_epoch * self._config.epochs)
            stopping = bool(stop)
            due = stopping or record.epoch_done or self._is_due()
            if due or record.step % self._look == 0:
                if not (has_finite_loss(record) and (not due or has_finite_params(record))):
                    raise self._diverged(state, good, record.step, started)
                good = [record, good[0], record if due else good[2]]
            if stopping:
                break
            if due and not record.epoch_done:
                now = state._replace(params=record.params, opt_state=record.opt_state)
                self._save(now, record, time.monotonic() - started)
        return record, throughput.per_second, stopping

    def _fit(self, step: Callable[..., Any], key: Tensor, record: Record) -> Any:
        """Return the records of the rest of the epoch that `record` is in."""
        return fit(
            step,
            record.params,
            record.opt_state,
            key,
            self._train,
            size=self._config.batch_size,
            epochs=record.epoch + 1,
            start=record.step,
            sums=record.metrics,
        )

    def _diverged(
        self, state: State, good: list[Record], failed: int, started: float
    ) -> NonFiniteError:
        """Save the last good state; return what went wrong in the step after it.

        The steps from the newest record with finite parameters on are done again: they are pure
        functions.
        """
        last = next(record for record in good if has_finite_params(record))
        where, reason = f"By step {failed}", "the loss or a parameter was not finite"
        again = last
        try:
            for again in self._fit(check_finite(self._step), state.key, last):
                if again.step == failed:
                    break
        except NonFiniteError as error:
            last, where, reason = again, f"Step {again.step + 1}", str(error)
        state = state._replace(params=last.params, opt_state=last.opt_state)
        self.record = last if last.step else None
        self._save(state, last, time.monotonic() - started)
        return NonFiniteError(
            f"{where}, at a learning rate of {self._learning_rate(last.opt_state):g}: {reason}. "
            "The state before it is kept. Lower --lr in a new run, or leave such steps out: "
            f"--resume {shlex.quote(str(self._directory.path))} --on-nonfinite skip"
        )

    def _end_epoch(self, state: State, record: Record, started: float, speed: float) -> State:
        """Evaluate, write the epoch's line, and return the state that the next one begins with."""
        train = metrics.means(record.metrics)
        line = {
            "epoch": record.epoch + 1,
            "step": record.step,
            **{f"train_{name}": value for name, value in train.items()},
            **self._evaluations(self.eval_params(record)),
            "learning_rate": self._learning_rate(record.opt_state),
            "seconds": round(time.monotonic() - started, 3),
            "images_per_second": round(speed, 1),
        }
        trained = record.metrics["count"].item() / self._config.batch_size
        if self._config.on_nonfinite == "skip":
            line["skipped_steps"] = self.steps_per_epoch - round(trained)
        self._directory.append_metrics(line)
        self._display.epoch(line, self._config.epochs)
        if line.get("skipped_steps"):
            self._display.say(f"{line['skipped_steps']} steps were not finite, and left out")
        self._log.epoch(line)
        self.lines.append(line)
        if self.best is None or line[self._chosen_by] > self.best[self._chosen_by]:
            self.best = line
            self.write_weights("best", record)
        plateau = self._experiment.plateau
        if plateau is None or state.plateau is None:
            return state
        scale, plateau_state = plateau.update(line["train_loss"], state.plateau)
        opt_state = set_hyper(state.opt_state, self._lr_scale, scale)
        return state._replace(opt_state=opt_state, plateau=plateau_state)

    def _evaluations(self, params: Params) -> dict[str, float]:
        def means(dataset: Dataset) -> dict[str, float]:
            size = min(EVAL_BATCH, len(dataset))
            return metrics.means(evaluate(self._eval, params, dataset, size=size))

        return {
            f"{split}_{name}": value
            for split, dataset in self._tests.items()
            for name, value in means(dataset).items()
        }

    def _is_due(self) -> bool:
        """Say whether the last checkpoint is as old as the config lets it become."""
        return time.monotonic() - self._saved_at >= 60 * self._config.checkpoint_minutes

    def _save(self, state: State, record: Record, seconds: float) -> None:
        sums = {name: value.item() for name, value in record.metrics.items()}
        note = Note(sums, self.lines, self.best["epoch"] if self.best else None, seconds)
        self._directory.checkpoints.save(record.step, state, note._asdict())
        self._saved_at = time.monotonic()

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

    def write_weights(self, name: str, record: Record) -> None:
        """Write the weights of a record to the run directory."""
        epoch = -(-record.step // self.steps_per_epoch)  # the one that goes on counts
        params = self.eval_params(record)
        self._directory.write_weights(name, self._experiment.model, params, epoch)
