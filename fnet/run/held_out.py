"""The held-out images of a run, and their evaluation after each epoch."""

from collections.abc import Callable, Sequence

from fnet import metrics
from fnet.data import Batch
from fnet.evaluation import EVAL_BATCH
from fnet.loop import evaluate
from fnet.metrics import Metrics
from fnet.nn import Params
from fnet.run.compiled import ready_eval
from fnet.run.config import Config
from fnet.run.recipe import Experiment
from fnet.run.runtime import Runtime
from fnet.run.splits import Splits
from fnet.step import EvalStep


class HeldOut:
    """The test images of a run, and its validation images if there are any, on its device."""

    def __init__(
        self, experiment: Experiment, splits: Splits, config: Config, runtime: Runtime
    ) -> None:
        datasets = {"test": splits.test.to(runtime.device)}
        if splits.validation is not None:
            datasets["validation"] = splits.validation.to(runtime.device)
        step, prepared = experiment.eval_step(*datasets.values(), dtype=runtime.dtype)
        self._datasets = dict(zip(datasets, prepared, strict=True))
        self._step = ready_eval(step, config, runtime)
        self._least = runtime.processes  # each computes at least one row of a batch

    def evaluate(
        self,
        params: Params,
        on_progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> dict[str, float]:
        """Return the means over each set of images: "test_loss", "test_accuracy", ...

        Args:
            params: the network's.
            on_progress: called after each batch with the number of images done, and of all images.
        """
        done, total = 0, sum(map(len, self._datasets.values()))
        found = {}
        for split, dataset in self._datasets.items():
            size = max(min(EVAL_BATCH, len(dataset)), self._least)
            starts = range(done, done + len(dataset), size)
            done += len(dataset)
            step = self._counted([min(start + size, done) for start in starts], total, on_progress)
            for name, value in metrics.means(evaluate(step, params, dataset, size=size)).items():
                found[f"{split}_{name}"] = value
        return found

    def _counted(
        self, ends: Sequence[int], total: int, on_progress: Callable[[int, int], object]
    ) -> EvalStep:
        """Return the step, which calls `on_progress` after each batch."""
        left = iter(ends)

        def step(params: Params, batch: Batch) -> Metrics:
            sums = self._step(params, batch)
            on_progress(next(left), total)
            return sums

        return step
