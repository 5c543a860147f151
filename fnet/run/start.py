"""The start of a run from given weights (`--init-from`): its first state, and its checkpoint."""

from dataclasses import dataclass, replace

from fnet.data.load import expanded
from fnet.nn import LoadReport
from fnet.run.checkpoint import Restored
from fnet.run.config import Config
from fnet.run.directory import RunDirectory
from fnet.run.progress import State, initial_state
from fnet.run.recipe import Experiment
from fnet.run.runtime import Runtime
from fnet.run.schema import Note, Source
from fnet.run.source import (
    first_params,
    read_source,
    refuse_nonfinite,
    say_source,
    with_its_preprocess,
)
from fnet.run.splits import Splits
from fnet.run.typed_json import to_json
from fnet.show.terminal import Display


@dataclass(frozen=True)
class Start:
    """The state before the first step of a run, and where its weights are from."""

    state: State
    source: Source
    report: LoadReport

    def save(self, directory: RunDirectory, display: Display) -> Restored:
        """Write the checkpoint of step 0, so that a resumed run does not need the source again."""
        note = to_json(Note({}, (), None, 0.0))
        directory.checkpoints.save(0, self.state, note)
        say_source(self.source, self.report, display)
        return Restored(0, self.state, note, ())


def start_from(
    config: Config, experiment: Experiment, splits: Splits, runtime: Runtime
) -> tuple[Config, Experiment, Start | None]:
    """Return how a run starts that has `--init-from`; a run without it is returned unchanged.

    Returns:
        the config with the absolute path of the source, so that the record can be read from any
        folder; the experiment with the preprocessing that the weights expect; the start.

    Raises:
        ConfigError: the source has no weights that can be used.
    """
    if config.init_from is None:
        return config, experiment, None
    given = read_source(config.init_from)
    refuse_nonfinite(given)
    experiment = with_its_preprocess(experiment, given.preprocess, splits)
    state = initial_state(experiment, config.seed, runtime.device)
    classes = splits.train.classes
    params, source, report = first_params(given, experiment.model, state.params, classes)
    state = state._replace(params=params, opt_state=experiment.tx.init(params.trainable))
    path = str(expanded(config.init_from).resolve())
    return replace(config, init_from=path), experiment, Start(state, source, report)
