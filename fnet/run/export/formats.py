"""The formats of an export: how each is written, and how it is loaded without fnet."""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fnet import random
from fnet.nn import ModelError, to_module
from fnet.run.checkpoint import save_weights, weights_epoch
from fnet.run.config import ConfigError
from fnet.run.export.classifier import classifier_of
from fnet.run.opened import Run
from fnet.run.preprocess_json import preprocess_to_json

Format = Literal["onnx", "torch-export", "safetensors", "state-dict"]

Classify: TypeAlias = Callable[[Tensor], Tensor]
"""`(images uint8 [N, C, H, W]) -> probabilities float32 [N, classes]`."""

METADATA = "metadata.json"
"""The name of the metadata in a file of torch.export."""


@dataclass(frozen=True)
class FileFormat:
    """How a format is written and read.

    Attributes:
        suffix: of the file name.
        write: `(path, run, details)`.
        load: `(path, run) -> Classify`, with the program that the format is for; None: that is not
            installed.
    """

    suffix: str
    write: Callable[[Path, Run, dict[str, Any]], None]
    load: Callable[[Path, Run], Classify | None]


def details_of(run: Run) -> dict[str, Any]:
    """Return what the metadata of an export say: classes, images, normalisation, and the run."""
    epoch = weights_epoch(run.path / f"{run.weights}.safetensors")
    return {
        "classes": list(run.classes),
        "input_shape": list(run.input_shape),
        "preprocess": preprocess_to_json(run.preprocess),
        "recipe": run.setup.recipe,
        "run": run.path.resolve().name,
        "weights": run.weights,
        "epoch": epoch,
        "data": run.data,
    }


def write(format: Format, path: Path, run: Run) -> None:
    """Write a run's network to a new file.

    Args:
        format: the format.
        path: the file.
        run: the run, with its weights on the CPU.

    Raises:
        ConfigError: a package that the format needs is missing.
        ModelError: the exporter cannot translate the network.
    """
    details = details_of(run)
    try:
        with warnings.catch_warnings(action="ignore"):  # of the exporters, about themselves
            FORMATS[format].write(path, run, details)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ModelError(
            f"this network cannot be exported to {format} ({reason}): export its weights with "
            "--format safetensors"
        ) from error


def _example(run: Run) -> Tensor:
    # Two images: an exporter takes a batch of one as a constant.
    return random.randint(random.key(0), (2, *run.input_shape), 0, 256).to(torch.uint8)


def _write_onnx(path: Path, run: Run, details: dict[str, Any]) -> None:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ConfigError(f'--format onnx needs {" and ".join(missing)}: pip install "fnet[onnx]"')
    program = torch.onnx.export(
        classifier_of(run),
        (_example(run),),
        input_names=["images"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    for name, value in details.items():
        text = value if isinstance(value, str) else json.dumps(value)
        program.model.metadata_props[name] = text
    program.save(path)


def _load_onnx(path: Path, run: Run) -> Classify | None:
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _write_program(path: Path, run: Run, details: dict[str, Any]) -> None:
    program = torch.export.export(
        classifier_of(run), (_example(run),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, path, extra_files={METADATA: json.dumps(details)})


def _load_program(path: Path, run: Run) -> Classify:
    with warnings.catch_warnings(action="ignore"):
        program: Classify = torch.export.load(path).module()
    return program


def _write_safetensors(path: Path, run: Run, details: dict[str, Any]) -> None:
    save_weights(path, run.model, run.params, epoch=details["epoch"], details=details)


def _write_state_dict(path: Path, run: Run, details: dict[str, Any]) -> None:
    torch.save(to_module(run.model, run.params).state_dict(), path)


def _of_weights(run: Run, weights: dict[str, Tensor]) -> Classify:
    module: nn.Module = run.model.make()
    module.load_state_dict(weights)
    return classifier_of(run, module.eval())


FORMATS: dict[Format, FileFormat] = {
    "onnx": FileFormat(".onnx", _write_onnx, _load_onnx),
    "torch-export": FileFormat(".pt2", _write_program, _load_program),
    "safetensors": FileFormat(
        ".safetensors", _write_safetensors, lambda path, run: _of_weights(run, load_file(path))
    ),
    "state-dict": FileFormat(
        ".pth",
        _write_state_dict,
        lambda path, run: _of_weights(run, torch.load(path, weights_only=True)),
    ),
}
