"""The start of a run from given weights (`--init-from`): its first state, and its checkpoint."""

from typing import NamedTuple

from fnet.data.dataset import quoted
from fnet.run.checkpoint import Restored
from fnet.run.config import Config, ConfigError
from fnet.run.directory import RunDirectory
from fnet.run.progress import State, initial_state
from fnet.run.recipe import Experiment
from fnet.run.runtime import Runtime
from fnet.run.schema import Note
from fnet.run.source import (
    Given,
    Loaded,
    first_params,
    with_its_preprocess,
)
from fnet.run.splits import Splits
from fnet.run.typed_json import to_json
from fnet.show.terminal import Display


class Start(NamedTuple):
    """The state before the first step of a run, and where its weights are from."""

    state: State
    loaded: Loaded

    def save(self, directory: RunDirectory, display: Display) -> Restored:
        """Write the checkpoint of step 0, so that a resumed run does not need the source again."""
        note = to_json(Note({}, (), None, 0.0))
        directory.checkpoints.save(0, self.state, note)
        self.loaded.say(display)
        return Restored(0, self.state, note, ())


def start_from(
    given: Given, config: Config, experiment: Experiment, splits: Splits, runtime: Runtime
) -> tuple[Experiment, Start]:
    """Return the experiment with the preprocessing of the weights, and its first state.

    Raises:
        ConfigError: no weight fits the network, or one that does not is frozen.
    """
    experiment = with_its_preprocess(experiment, given.preprocess, splits)
    new = initial_state(experiment, config.seed, runtime.device)
    loaded = first_params(given, experiment.model, new.params, splits.train.classes)
    if drawn := sorted(experiment.frozen.intersection(loaded.source.new)):
        raise ConfigError(
            f"{quoted(drawn)} would be frozen, but {given.path} has no values that fit: they would "
            "stay random: do not --freeze them"
        )
    opt_state = experiment.tx.init(loaded.params.trainable)
    return experiment, Start(new._replace(params=loaded.params, opt_state=opt_state), loaded)
