"""The images that a run is not trained on: evaluated after each epoch, they tell which is best."""

from fnet import metrics
from fnet.data import Dataset
from fnet.evaluation import EVAL_BATCH
from fnet.loop import evaluate
from fnet.nn import Params
from fnet.run.ready import ready_eval
from fnet.run.recipe import Experiment
from fnet.run.runtime import Runtime
from fnet.run.splits import Splits


class HeldOut:
    """The test images of a run, and its validation images where it has some, on its device.

    Attributes:
        chosen_by: the figure that is highest in the best epoch: the accuracy on the validation
            images, or where there are none on the test images.
    """

    def __init__(self, experiment: Experiment, splits: Splits, runtime: Runtime) -> None:
        datasets = {"test": splits.test.to(runtime.device)}
        if splits.validation is not None:
            datasets["validation"] = splits.validation.to(runtime.device)
        self.chosen_by = f"{'validation' if splits.validation is not None else 'test'}_accuracy"
        step, prepared = experiment.eval_step(*datasets.values(), dtype=runtime.dtype)
        self._datasets = dict(zip(datasets, prepared, strict=True))
        self._step = ready_eval(step, runtime)

    def evaluate(self, params: Params) -> dict[str, float]:
        """Return the means over each set of images: "test_loss", "test_accuracy", ..."""
        return {
            f"{split}_{name}": value
            for split, dataset in self._datasets.items()
            for name, value in self._means(params, dataset).items()
        }

    def _means(self, params: Params, dataset: Dataset) -> dict[str, float]:
        size = min(EVAL_BATCH, len(dataset))
        return metrics.means(evaluate(self._step, params, dataset, size=size))
