"""How to repeat a run and to use its weights: commands, three lines of Python, files."""

import os
import shlex
from typing import Any

from fnet.run.recipe import Recipe
from fnet.run.record import RunRecord, command
from fnet.run.report.formats import size
from fnet.run.report.page import Table
from fnet.show.tables import shape

_FILES = {
    "best.safetensors": "weights of the best epoch",
    "final.safetensors": "weights last reached",
    "config.json": "recipe, options and data set",
    "environment.json": "versions and machine",
    "metrics.jsonl": "figures of each epoch",
    "result.json": "how the run ended",
}


def reproduce_view(record: RunRecord, recipe: Recipe) -> dict[str, Any]:
    """Return what the template of this section shows."""
    path, option = record.path, recipe.origin.recipe_option
    found = {name: os.path.getsize(path / name) for name in _FILES if os.path.isfile(path / name)}
    weights = next((name for name in found if name.endswith(".safetensors")), "")
    run = shlex.quote(str(path))
    return {
        "command": command(record, recipe),
        "code": load_code(record, recipe, weights.partition(".")[0]) if weights else "",
        "remark": "images: uint8 [N, C, H, W], here C, H, W are "
        f"{shape(record.setup.input_shape)}. fnet.nn.to_module(run.model, run.params) is the same "
        "network as an ordinary nn.Module.",
        "tools": f"python -m recipes.predict {run} photo.jpg{option}\n"
        f"python -m recipes.evaluate {run}{option}\n"
        f"python -m recipes.export {run} --format onnx{option}\n"
        f"python -m recipes.finetune --from {run} --data DIR{option}",
        "files": Table(
            ["file", "content", "size"],
            [[name, _FILES[name], size(n)] for name, n in found.items()],
            names=2,
        ),
    }


def load_code(record: RunRecord, recipe: Recipe, weights: str) -> str:
    """Return three lines of Python that load the weights and predict `images` with them."""
    recipe_argument = "" if recipe.origin.packaged else f", recipe={recipe.origin.name!r}"
    return (
        "from fnet.run.opened import open_run\n"
        f"run = open_run({str(record.path)!r}, {weights!r}{recipe_argument})\n"
        "probabilities = run.model.apply(run.params, run.preprocess(images))[0].softmax(-1)"
    )
