"""The source of a run's first weights: another run, or a file of weights (`--init-from`)."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fnet.data import Preprocess
from fnet.data.load import expanded
from fnet.files import open_regular
from fnet.nn import Model, ModelError, Params, from_state_dict
from fnet.nn.head import head
from fnet.nn.load_report import LoadReport, without_prefixes
from fnet.run.checkpoint import weights_details
from fnet.run.config import ConfigError
from fnet.run.directory import CONFIG, read_setup
from fnet.run.preprocess_json import preprocess_from_json
from fnet.run.recipe import Experiment
from fnet.run.schema import Source
from fnet.run.splits import Splits
from fnet.run.weights_file import read_state_dict
from fnet.show.terminal import Display

_NAMES = 6  # names of weights in one cell of the table


@dataclass(frozen=True)
class Given:
    """The weights of a source.

    Attributes:
        path: the file of the weights, absolute.
        checksum: the SHA-256 of that file.
        tensors: the weights by name.
        classes: the names of the classes that the source tells apart; None if it does not say.
        preprocess: as in a run's `config.json`; None if the source does not say.
    """

    path: Path
    checksum: str
    tensors: dict[str, Tensor]
    classes: tuple[str, ...] | None = None
    preprocess: Any = None


@dataclass(frozen=True)
class Loaded:
    """The result of loading weights into a network.

    Attributes:
        params: the parameters: loaded, or new where no weight fits.
        source: what to record.
        report: which weights fit, by name and shape.
        other_classes: the weights of the head, if it is new because the classes are others.
    """

    params: Params
    source: Source
    report: LoadReport
    other_classes: tuple[str, ...]

    def say(self, display: Display) -> None:
        """Print which weights were loaded, which are new, and which the network does not have."""
        report, anew = self.report, self.other_classes
        missing = [name for name in report.missing if name not in anew]
        rows = [
            ("loaded", report.matched),
            ("new: other classes", anew),
            ("new: other shape", _shapes(report)),
            ("new: not in it", missing),
            ("left over", report.left_over),
        ]
        display.table(
            f"Weights from {self.source.path}",
            ["weights", "number", "which"],
            [[what, str(len(names)), _few(names)] for what, names in rows if names],
        )


def is_run(path: Path) -> bool:
    """Return whether the path is a run directory."""
    return os.path.lexists(path / CONFIG)


def read_source(name: str) -> Given:
    """Return the weights of a run directory (the best, else the final ones) or of a file.

    Raises:
        ConfigError: there are no weights, or they cannot be read or are not finite.
    """
    path = expanded(name).resolve()
    if not path.is_dir():
        return _given(path, _details(path))
    if not is_run(path):
        raise ConfigError(
            f"{path} is a folder, but not a run directory: give a run directory, or a file of "
            "weights (.safetensors, .pth, .pt)"
        )
    setup = read_setup(path)
    files = [path / f"{weights}.safetensors" for weights in ("best", "final")]
    found = [file for file in files if os.path.lexists(file)]
    if not found:
        raise ConfigError(f"the run {path} has no weights yet: wait, or give another run")
    return _given(found[0], {"classes": setup.classes, "preprocess": setup.preprocess})


def _details(path: Path) -> Mapping[str, Any]:
    """Return what an export of fnet says of itself; nothing for any other file."""
    try:
        return weights_details(path) if path.suffix == ".safetensors" else {}
    except ModelError:  # `read_state_dict` says why
        return {}


def _given(path: Path, details: Mapping[str, Any]) -> Given:
    tensors = read_state_dict(path)
    for name, leaf in tensors.items():
        # A training that starts from such weights ends at its first step.
        if leaf.is_floating_point() and not torch.isfinite(leaf.float()).all():
            raise ConfigError(
                f"the weight {name!r} in {path} is not finite (NaN or infinity): give the weights "
                "of another epoch"
            )
    classes = details.get("classes")
    named = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    known = tuple(classes) if named and classes else None
    with open_regular(path, links=True) as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return Given(path, checksum, tensors, known, details.get("preprocess"))


def with_its_preprocess(experiment: Experiment, recorded: Any, splits: Splits) -> Experiment:
    """Return the experiment with the recorded preprocessing, if it is one for these images.

    Weights expect images as they were preprocessed when the weights were trained.
    """
    if recorded is None:
        return experiment
    try:
        preprocess: Preprocess = preprocess_from_json(recorded, experiment.preprocess)
        preprocess(splits.train.images[:1])
    except ValueError:
        return experiment
    return replace(experiment, preprocess=preprocess)


def first_params(given: Given, model: Model, params: Params, classes: tuple[str, ...]) -> Loaded:
    """Return the parameters with the weights that fit.

    The head (`fnet.nn.head`) keeps its new values if the classes are not those of the source, or
    its shape is another one.

    Args:
        given: the source.
        model: the network.
        params: its new parameters.
        classes: the names of the classes, in the order of the logits.

    Raises:
        ConfigError: no weight fits.
    """
    own = {**params.trainable, **params.stats}
    tensors = _of_inner_module(without_prefixes(given.tensors, own), own)
    last = set(head(model))
    anew: tuple[str, ...] = ()
    if given.classes not in (None, classes):
        anew = tuple(sorted(last & tensors.keys()))
        tensors = {name: leaf for name, leaf in tensors.items() if name not in last}
    try:
        loaded, report = from_state_dict(params, tensors, strict=False, model=model)
    except ModelError as error:
        raise ConfigError(f"the weights in {given.path} cannot be used: {error}") from error
    if (report.missing or report.other_shape) and not set(report.matched) - last:
        raise ConfigError(
            f"no weight in {given.path} fits this network: the file has {_few(given.tensors)}, "
            f"the network has {_few(own)}; {_of_other_shape(report)}give the network that the "
            "weights are of"
        )
    new = tuple(sorted({*report.missing, *report.other_shape}))
    count, left_over = len(report.matched), len(report.left_over)
    source = Source(str(given.path), given.checksum, count, new, left_over)
    return Loaded(loaded, source, report, anew)


def _of_inner_module(tensors: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights without a first name part that all have and the network does not know.

    Frameworks keep the network as an attribute of an object of theirs: "net.fc.weight".
    """
    first = {name.partition(".")[0] for name in tensors}
    if len(first) != 1 or own.keys() & tensors.keys():
        return tensors
    inner = {name.partition(".")[2]: leaf for name, leaf in tensors.items()}
    return inner if own.keys() & inner.keys() else tensors


def _shapes(report: LoadReport) -> list[str]:
    return [
        f"{name} ({_shape(given)}, here {_shape(own)})"
        for name, (given, own) in report.other_shape.items()
    ]


def _of_other_shape(report: LoadReport) -> str:
    return f"of another shape: {_few(_shapes(report))}; " if report.other_shape else ""


def _few(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _NAMES} more" if len(shown) > _NAMES else ""
    return ", ".join(shown[:_NAMES]) + more


def _shape(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes)) or "one number"
