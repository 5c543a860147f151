"""The parameters that a run evaluates: averages of weights, recomputed statistics."""

from itertools import islice

import torch

from fnet import random
from fnet.data import Dataset, batches
from fnet.loop import Record
from fnet.nn import Params, fresh_statistics
from fnet.run.compiled import ready_eval
from fnet.run.config import Config
from fnet.run.recipe import Experiment
from fnet.run.runtime import Runtime

_KEY = 2  # folded into the run's seed: `initial_state` splits that in two


class EvalParams:
    """A function from a record of a run to the params that are evaluated and saved.

    Those of `Experiment.eval_params`, with the statistics of its first training batches where the
    experiment asks for that; these are computed once for a record.
    """

    def __init__(
        self, experiment: Experiment, train: Dataset, config: Config, runtime: Runtime
    ) -> None:
        self._experiment, self._config = experiment, config
        self._last: tuple[Params, Params] | None = None
        if experiment.fresh_statistics:
            forward, self._train = experiment.statistics(train, runtime.dtype)
            self._forward = ready_eval(forward, config, runtime)
            self._key = random.fold_in(random.key(config.seed, runtime.device), _KEY)

    def __call__(self, record: Record) -> Params:
        """Return the params to evaluate after a step."""
        if not self._experiment.fresh_statistics:
            return self._experiment.eval_params(record.params, record.opt_state)
        if self._last is None or self._last[0] is not record.params:
            params = self._experiment.eval_params(record.params, record.opt_state)
            self._last = (record.params, self._with_fresh_statistics(params))
        return self._last[1]

    def _with_fresh_statistics(self, params: Params) -> Params:
        stream = batches(self._key, self._train, self._config.batch_size)
        with torch.no_grad():
            chosen = islice(stream, self._experiment.fresh_statistics)
            return fresh_statistics(self._forward, params, chosen)
