"""Members of a sweep on Ray Tune: several at the same time, on one machine or many.

Ray starts the workers, gives each a member, and starts another worker if one dies. A member is the
same run as without Ray, so a new worker continues from the last checkpoint in the run directory.
With several machines, the directory of the sweep and the data must be on a disk that all share.

Without the environment variable RAY_ADDRESS, Ray runs on this machine alone. Each worker has an
equal part of the cores; how many threads a run has is in its record.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from fnet.run.command import USER_ERRORS
from fnet.run.config import ConfigError
from fnet.run.loading import load_recipe
from fnet.run.process import leave_out_triton
from fnet.run.schema import config_from_json
from fnet.run.sweep.arms import Arm, Member, has_ended
from fnet.run.sweep.display import SweepDisplay, epoch_line
from fnet.show.terminal import Display

RESTARTS = 3
"""How often a member goes on in a new worker before it is given up."""

_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths of options are relative to the current directory
    "RAY_USAGE_STATS_ENABLED": "0",  # send nothing to Ray's makers
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # runs have logs of their own
}
_NO_RAY = '--ray needs Ray: pip install "fnet[ray]"'


def require_ray() -> None:
    """Raise a ConfigError if Ray Tune is not installed."""
    if find_spec("ray") is None:
        raise ConfigError(_NO_RAY)
    try:
        import ray.tune  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{_NO_RAY} ({error})") from error


def on_ray(
    members: Sequence[Member],
    out: Path,
    until: int | None,
    display: SweepDisplay,
    *,
    workers: int,
) -> int:
    """Train the members on Ray, so many at the same time; a `Runner`.

    Raises:
        ConfigError: a member cannot be trained, or its workers died more than `RESTARTS` times.
    """
    left = [member for member in members if not _is_there(member, out, until)]
    if not left:
        return 0
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    started = not ray.is_initialized()
    if started:
        _start(workers)
    try:
        _fit(left, out, until, display, workers)
    finally:
        if started:
            ray.shutdown()
    display.saved()
    unfinished = [member.label for member in left if not _is_there(member, out, until)]
    if unfinished:
        display.say(f"Stopped before these were complete: {'; '.join(unfinished)}")
        return 130  # Ray has caught a Ctrl-C
    return 0


def _is_there(member: Member, out: Path, until: int | None) -> bool:
    record = member.record(out)
    if record is None:
        return False
    return has_ended(record) or (until is not None and len(record.lines) >= until)


def _start(workers: int) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        ray.init(num_cpus=max(workers, os.cpu_count() or 1), include_dashboard=False, **quiet)


def _fit(
    members: Sequence[Member], out: Path, until: int | None, display: SweepDisplay, workers: int
) -> None:
    import ray
    from ray import tune

    class Show(tune.Callback):
        """Shows an epoch as soon as a worker reports it."""

        def __init__(self, show: Callable[[int, str], None]) -> None:
            self._show = show

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Ray stores callbacks, and a terminal cannot be stored

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            if "said" in result:
                self._show(trial.config["place"], result["said"])

    def show(place: int, said: str) -> None:
        display.say(f"{members[place].label}: {said}")
        display.state(members[place], said)
        display.saved()

    cores = max(1, int(ray.cluster_resources().get("CPU", 1)) // workers)
    specs = [_spec(member, place, out, until) for place, member in enumerate(members)]
    with tempfile.TemporaryDirectory(prefix="fnet-ray-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(_train_member, {"cpu": cores}),
            param_space=tune.grid_search(specs),
            tune_config=tune.TuneConfig(max_concurrent_trials=workers),
            run_config=tune.RunConfig(
                name="members",
                storage_path=scratch,
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                callbacks=[Show(show)],
                verbose=0,
            ),
        )
        results = tuner.fit()
    for member in members:
        display.state(member, "")
    for result in results:
        if result.error is not None:
            label = members[result.config["place"]].label
            raise ConfigError(
                f"{label}: its worker died more than {RESTARTS} times, for the last time with: "
                f"{str(result.error).strip().splitlines()[-1]}"
            )
        if result.metrics and result.metrics.get("refused"):
            raise ConfigError(result.metrics["refused"])


def _spec(member: Member, place: int, out: Path, until: int | None) -> dict[str, Any]:
    """Return what a worker needs to know of a member, as JSON values."""
    arm = member.arm
    return {
        "place": place,
        "recipe": arm.recipe.origin.name,
        "label": arm.label,
        "config": asdict(arm.config),
        "seed": member.seed,
        "out": str(out.absolute()),
        "until": until,
        "directory": os.getcwd(),
    }


def _train_member(spec: dict[str, Any]) -> None:
    """Train a member, in a worker."""
    from ray import tune

    if os.path.isdir(spec["directory"]):
        os.chdir(spec["directory"])
    leave_out_triton()
    try:
        recipe = load_recipe(spec["recipe"])
        config = config_from_json(type(recipe.variants["default"]), spec["config"])
        member = Member(Arm(recipe, spec["label"], config), spec["seed"])
        member.advance(Path(spec["out"]), _Reporting(), spec["until"])
    except USER_ERRORS as error:
        # Reported, not raised: Ray would try it again.
        tune.report({"refused": f"{spec['label']}, seed {spec['seed']}: {error}"})
    else:
        tune.report({"refused": ""})


class _Reporting(Display):
    """A display that prints nothing, and reports each epoch to Ray."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))

    def epoch(self, line: Mapping[str, Any], epochs: int) -> None:
        """Report the figures of an epoch."""
        from ray import tune

        tune.report({"said": epoch_line(line, epochs), "refused": ""})

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print nothing."""
