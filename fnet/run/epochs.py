"""The epoch loop: train, evaluate and save, until the last epoch or a request to stop."""

import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

from torch import Tensor

from fnet import data, metrics
from fnet.data import Dataset
from fnet.data.resize import resize_dataset
from fnet.debug import NonFiniteError, check_finite
from fnet.loop import Record, fit
from fnet.nn import Params, to_module
from fnet.parallel import World
from fnet.run.agreement import Agreement
from fnet.run.checkpoint import Restored
from fnet.run.compiled import ready
from fnet.run.config import Config
from fnet.run.directory import RunDirectory
from fnet.run.divergence import Watch, find_divergence
from fnet.run.eval_params import EvalParams
from fnet.run.held_out import HeldOut
from fnet.run.learning_rate import effective_rate, with_lr_scale
from fnet.run.log import RunLog
from fnet.run.progress import Progress, State, initial_state
from fnet.run.recipe import Experiment
from fnet.run.runtime import Runtime
from fnet.run.schema import Line, Status
from fnet.run.signals import StopRequest
from fnet.run.splits import Splits
from fnet.run.time_to_accuracy import is_reached
from fnet.show.loggers import Start
from fnet.show.terminal import Display
from fnet.step import Step

_SAMPLES = 32
# Steps between two checks of the loss: on a GPU, a check synchronizes with all queued steps.
_CHECK_EVERY_GPU = 50


class Trainer:
    """The training of one run: trains, evaluates after each epoch, saves, displays and logs.

    Attributes:
        progress: the progress of the run.
        eval_params: `(record) -> Params`, the parameters to evaluate.
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
        world: World = World(),  # noqa: B008 (frozen)
    ) -> None:
        self._experiment, self._config, self._runtime = experiment, config, runtime
        self._directory, self._display, self._log = directory, display, log
        train = splits.train.to(runtime.device)
        self._samples = train.images[:: max(1, len(train) // _SAMPLES)][:_SAMPLES]
        self._agreed = Agreement(world)
        step, self._train = experiment.train_step(
            train, runtime.dtype, sync_batch_norm=config.sync_bn
        )
        self._resized = (0, self._train)
        self.eval_params = EvalParams(experiment, train, config, runtime)
        self._held_out = HeldOut(experiment, splits, config, runtime)
        self._check_every = 1 if runtime.device == "cpu" else _CHECK_EVERY_GPU
        self._steps_per_epoch = data.steps_per_epoch(len(self._train), config.batch_size)
        self.progress = Progress(
            directory, experiment.model, self.eval_params, self._steps_per_epoch
        )
        self._step = ready(step, config, runtime)

    def run(
        self, stop: StopRequest, restored: Restored | None = None, until: int | None = None
    ) -> Status:
        """Train to the last epoch, to the target or to a request to stop; return which it was.

        Args:
            stop: a request ends the training after the current step.
            restored: the checkpoint to resume from; None: start from the beginning.
            until: stop after this epoch, counted from 1, as after a request; None: do not.

        Raises:
            NonFiniteError: the loss or a parameter is not finite; the state before is saved.
        """
        if restored is None:
            state = initial_state(self._experiment, self._config.seed, self._runtime.device)
            record, seconds = self._at(state, 0), 0.0
        else:
            state = restored.state
            record, seconds = self.progress.restore(restored)
        problem = self.progress.repair_best(record)
        if problem:
            self._display.say(problem, "yellow")
        if self._runtime.compiled:
            self._display.say("Compiling: one or two minutes the first time, later seconds.")
            self._display.wait("compiling")
        try:
            self._log.start(self._start(record), record.metrics)
            while record.epoch < self._config.epochs:
                if is_reached(self._config.target, self.progress.lines):
                    return "stopped at target"
                if until is not None and record.epoch >= until:
                    return "interrupted"
                started = time.monotonic() - seconds
                record, speed, stopping = self._train_epoch(state, record, started, stop)
                state = state.after(record)
                if stopping:
                    self.progress.save(state, record, time.monotonic() - started)
                    return "interrupted"
                state = self._end_epoch(state, record, started, speed)
                record, seconds = self._at(state, record.step), 0.0
                self.progress.save(state, record, seconds)
                stopping, _ = self._agreed(record.step, stop, now=True)
                if stopping and record.epoch < self._config.epochs:
                    return "interrupted"
        finally:
            self._log.close()
        return "complete"

    def _at(self, state: State, step: int) -> Record:
        """Return the record between two epochs, without metrics."""
        return Record(step, step // self._steps_per_epoch, False, state.params, state.opt_state, {})

    def _start(self, record: Record) -> Start:
        """Return what the loggers can show before the run starts or resumes."""
        return Start(
            config=asdict(self._config),
            images=self._samples,
            example=self._experiment.preprocess(self._samples[:1]),
            module=lambda: to_module(self._experiment.model, record.params),
            step=record.step,
            epoch=len(self.progress.lines),
        )

    def _train_epoch(
        self, state: State, record: Record, started: float, stop: StopRequest
    ) -> tuple[Record, float, bool]:
        """Train for the rest of an epoch, or until a request to stop.

        Returns the last record, the throughput in images/s, and whether there was a request.
        """
        throughput, watch, stopping = Throughput(), Watch(record), False
        first = record.step + 1
        self._display.restart("epoch")
        records = self._fit(self._step, state.key, record)
        for record in records:
            self.progress.record = record
            self._log.step(record)
            if record.step == first:
                throughput.restart()  # the first step includes the compilation
                self._display.finish("compiling")
            else:
                throughput.add(self._config.batch_size)
            self._show(record, f"{throughput.per_second:,.0f} images/s")
            stopping, due = self._agreed(record.step, stop, self._is_checkpoint_due())
            due = due or stopping or record.epoch_done
            checked = due or record.step % self._check_every == 0
            if checked and not watch.is_finite(record, params=due):
                raise self._diverged(state, watch.last_finite(), record.step, started)
            if stopping:
                break
            if due and not record.epoch_done:
                self.progress.save(state.after(record), record, time.monotonic() - started)
        return record, throughput.per_second, stopping

    def _fit(self, step: Step, key: Tensor, record: Record) -> Iterator[Record]:
        """Return the records of the steps after `record` to the end of its epoch."""
        return fit(
            step,
            record.params,
            record.opt_state,
            key,
            self._images_of(record.epoch),
            size=self._config.batch_size,
            epochs=record.epoch + 1,
            start=record.step,
            sums=record.metrics,
        )

    def _images_of(self, epoch: int) -> Dataset:
        """Return the training images resized for an epoch, counted from 0."""
        sizes = self._experiment.sizes
        # The last epoch has the images of the evaluation, also in a run of few epochs.
        if epoch >= len(sizes) or epoch + 1 == self._config.epochs:
            return self._train
        if self._resized[0] != sizes[epoch]:
            self._resized = (sizes[epoch], resize_dataset(self._train, sizes[epoch]))
        return self._resized[1]

    def _show(self, record: Record, note: str) -> None:
        """Update the progress bars to a record."""
        of_epoch, epochs = self._steps_per_epoch, self._config.epochs
        self._display.progress("run", record.step, of_epoch * epochs)
        self._display.progress("epoch", record.step - record.epoch * of_epoch, of_epoch, note)

    def _is_checkpoint_due(self) -> bool:
        return self.progress.minutes_since_save() >= self._config.checkpoint_minutes

    def _diverged(
        self, state: State, finite: Record, failed: int, started: float
    ) -> NonFiniteError:
        """Save the state before the first non-finite step, and return the error for the user."""
        again = self._fit(check_finite(self._step), state.key, finite)
        last, where, reason = find_divergence(finite, again, failed)
        rate = effective_rate(last.opt_state, self._experiment.learning_rate)
        self.progress.record = last if last.step else None
        self.progress.save(state.after(last), last, time.monotonic() - started)
        return NonFiniteError(
            f"{where}, at a learning rate of {rate:g}: {reason}. "
            "The state before it is saved. Lower --lr in a new run, or skip such steps: "
            f"--resume {shlex.quote(str(self._directory.path))} --on-nonfinite skip"
        )

    def _evaluate(self, params: Params) -> dict[str, float]:
        """Return the means over the held-out images, with a bar meanwhile."""
        bar = "evaluating"
        self._display.wait(bar)
        try:
            return self._held_out.evaluate(params, partial(self._display.progress, bar))
        finally:
            self._display.finish(bar)

    def _end_epoch(self, state: State, record: Record, started: float, speed: float) -> State:
        """Evaluate, write the epoch's line, and return the state for the next epoch."""
        self._show(record, "")
        self._display.finish("epoch")
        params = self.eval_params(record)
        train = metrics.means(record.metrics)
        trained = round(record.metrics["count"].item() / self._config.batch_size)
        skipping = self._config.on_nonfinite == "skip"
        line = Line(
            epoch=record.epoch + 1,
            step=record.step,
            train_loss=train["loss"],
            train_accuracy=train["accuracy"],
            **self._evaluate(params),
            learning_rate=effective_rate(record.opt_state, self._experiment.learning_rate),
            seconds=round(time.monotonic() - started, 3),
            images_per_second=round(speed, 1),
            skipped_steps=self._steps_per_epoch - trained if skipping else None,
        )
        self.progress.add(line, record)
        self._display.epoch(line.figures(), self._config.epochs)
        if line.skipped_steps:
            self._display.say(f"{line.skipped_steps} steps were not finite and were skipped")
        self._log.epoch(line.figures())
        plateau = self._experiment.plateau
        if plateau is None or state.plateau is None:
            return state
        scale, plateau_state = plateau.update(line.train_loss, state.plateau)
        opt_state = with_lr_scale(state.opt_state, scale, self._experiment.learning_rate)
        return state._replace(opt_state=opt_state, plateau=plateau_state)


class Throughput:
    """The throughput in images per second, since the last restart."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start counting from now."""
        self._images, self._since = 0, time.monotonic()

    def add(self, images: int) -> None:
        """Count these images."""
        self._images += images

    @property
    def per_second(self) -> float:
        """The images counted since the restart, divided by the seconds since then."""
        return self._images / max(time.monotonic() - self._since, 1e-9)
