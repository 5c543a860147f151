"""A zoo of torchvision's and timm's networks, each tested for what fnet promises of any module.

Run by hand: `python tests/zoo.py`, in the background with one thread and resumable

    OMP_NUM_THREADS=1 nice python tests/zoo.py --out zoo.jsonl > zoo.log &

It prints a table, a row for each network as it ends (passes, or refused or failed and why), and
how many of each. It exits with 1 if a network fails, or is refused that is not in `REFUSED`.
Nothing is downloaded.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from zoo_names import TIMM, TORCHVISION

from fnet import losses, optim, random, tree
from fnet.data import Batch
from fnet.nn import Model, ModelError, Params, check, from_module, from_state_dict, to_module
from fnet.nn.check import network_of
from fnet.step import Step, make_grad, make_step
from fnet.testing import (
    assert_compiled_agrees,
    assert_depends_on_key,
    assert_keeps_structure,
    assert_pure,
)
from fnet.tree import Tree

BATCH = 2
SIZE = 64  # pixels
CLASSES = 10

# Above 100 million parameters: on the meta device only. Pixels of each.
LARGE = {"vgg11_bn": SIZE, "timm/vgg11": SIZE, "timm/vit_huge_patch14_224": 224}
# Of ten families; their step is compiled as well.
COMPILED = [
    "alexnet",
    "squeezenet1_1",
    "shufflenet_v2_x0_5",
    "mnasnet0_5",
    "resnet18",
    "timm/lcnet_050",
    "timm/vit_tiny_patch16_224",
    "timm/convnext_atto",
    "timm/resmlp_12_224",
    "timm/poolformer_s12",
]
# What fnet refuses, and what its error says.
REFUSED: dict[str, str] = {
    # It makes a table of positions, of another shape, at its first call.
    "timm/convit_tiny": "the statistics of a step keep their shapes",
}


def names() -> list[str]:
    """Return the names of all networks, torchvision's first."""
    return [*TORCHVISION, *(f"timm/{name}" for name in TIMM), *LARGE]


def described(name: str) -> tuple[Callable[[], nn.Module], int]:
    """Return what makes a network, and the height of its images in pixels."""
    if name.startswith("timm/"):
        return _timm(name.removeprefix("timm/"))
    options = {
        # Without weights drawn from truncated normals, which takes long.
        "googlenet": {"aux_logits": False, "init_weights": False},
        "inception_v3": {"aux_logits": False, "init_weights": False},
        "vit_b_16": {"image_size": SIZE},
    }.get(name, {})
    make = partial(torchvision.models.get_model, name, weights=None, num_classes=CLASSES)
    return partial(make, **options), TORCHVISION[name]


def _timm(name: str) -> tuple[Callable[[], nn.Module], int]:
    make = partial(timm.create_model, name, pretrained=False, num_classes=CLASSES)
    # Draw, where the network can, and take small images, where it can.
    for size in ({"img_size": SIZE}, {}):
        for draws in ({"drop_rate": 0.5, "drop_path_rate": 0.5}, {"drop_rate": 0.5}, {}):
            try:
                module = make(**size, **draws).eval()
            except TypeError:
                continue
            own = module.default_cfg["input_size"][1]
            for pixels in (SIZE, own):
                if _takes(module, pixels):
                    return partial(make, **size, **draws), pixels
    raise AssertionError(f"{name} takes no images")


def _large(name: str) -> Callable[[], nn.Module]:
    short = name.removeprefix("timm/")
    create = torchvision.models.get_model if short == name else timm.create_model
    return partial(create, short, num_classes=CLASSES)


def _takes(module: nn.Module, pixels: int) -> bool:
    try:
        with torch.no_grad():
            module(torch.zeros(1, 3, pixels, pixels))
    except (RuntimeError, AssertionError, ValueError):
        return False
    return True


def hold(name: str, compiled: bool) -> str:
    """Hold a network against the promises, and return what was looked at.

    Args:
        name: the network's.
        compiled: compile its step as well.

    Raises:
        ModelError: fnet refuses it.
        AssertionError: it does not keep a promise.
    """
    if name in LARGE:
        size = LARGE[name]
        check(from_module(partial(_on_meta, _large(name))), (3, size, size), batch_size=BATCH)
        return f"{size} pixels, on the meta device"
    make, size = described(name)
    model = from_module(make)
    check(model, (3, size, size), batch_size=BATCH)
    images = random.normal(random.key(1), (BATCH, 3, size, size))
    params = model.init(random.key(0))
    assert sum(leaf.numel() for leaf in params.trainable.values()) <= 1e8, "belongs to LARGE"
    _hold_weights(model, params, images)
    step, state, batch = _training(model, params, images)
    assert_pure(step, params, state, batch)
    assert_keeps_structure(step, params, state, batch)
    looked_at = [f"{size} pixels"]
    network = network_of(model)
    facts = network.facts(tuple(images.shape), torch.float32, train=True)
    if facts.drew or network.rates:
        assert_depends_on_key(step, params, state, batch)
        looked_at.append("draws")
    if compiled:
        assert_compiled_agrees(step, params, state, batch)
        looked_at.append("compiled")
    return ", ".join(looked_at)


def _hold_weights(model: Model, params: Params, images: Tensor) -> None:
    """Test evaluation, and weights exported and loaded again."""
    plain = model.make().eval()
    own = from_state_dict(params, plain.state_dict())
    there = to_module(model, own).state_dict()
    assert list(there) == list(plain.state_dict()), "the state dict has other names"
    for leaf, value in plain.state_dict().items():
        assert torch.equal(there[leaf], value), f"the state dict has another {leaf}"
    tree.assert_equal(from_state_dict(params, there), own)
    with torch.no_grad():
        logits, _ = model.apply(own, images)
        assert torch.equal(logits, plain(images)), "evaluation logits are other than the module's"


def _training(model: Model, params: Params, images: Tensor) -> tuple[Step, Tree, Batch]:
    tx = optim.sgd(0.01, momentum=0.9)
    step = make_step(make_grad(model, losses.cross_entropy, preprocess=lambda x: x), tx)
    rows = torch.arange(BATCH)
    batch = Batch(images, rows, random.key(5), rows, torch.ones(BATCH), torch.tensor(0))
    return step, tx.init(params.trainable), batch


def _on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


def verdict(name: str, compiled: bool = False) -> tuple[str, str]:
    """Return "passes", "refused" or "FAILED", and why, in one line."""
    try:
        kind, why = "passes", hold(name, compiled)
    except ModelError as error:
        kind, why = "refused", str(error)
        if name not in REFUSED or not re.search(REFUSED[name], why):
            kind = "REFUSED UNEXPECTEDLY"
    except Exception as error:
        kind, why = "FAILED", f"{type(error).__name__}: {error}"
    if kind == "passes" and name in REFUSED:
        kind = "PASSES UNEXPECTEDLY"
    return kind, " ".join(why.split())[:400]


def recorded(file: Path | None) -> dict[str, dict[str, Any]]:
    """Return the results of an earlier call with this `--out`, by network."""
    found = {}
    for line in file.read_text().splitlines() if file is not None and file.exists() else ():
        try:
            result = json.loads(line)
        except ValueError:  # the process was killed while it wrote this line
            continue
        if result["torch"] == torch.__version__:
            found[result["network"]] = result
    return found


def main(arguments: Sequence[str]) -> int:
    """Print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description="Test networks for what fnet promises.")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="test only these networks")
    parser.add_argument("--skip-compiled", action="store_true", help="compile no step")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="append results; skip networks it already has"
    )
    options = parser.parse_args(arguments)
    earlier, counts = recorded(options.out), Counter[str]()
    for name in options.only or names():
        compiled = name in COMPILED and not options.skip_compiled
        result = earlier.get(name)
        if result is None or (compiled and not result["compiled"]):
            result = _result(name, compiled)
            if options.out is not None:
                with options.out.open("a") as out:
                    out.write(("\n" if out.tell() else "") + json.dumps(result))
        counts[result["verdict"]] += 1
        row = name, result["verdict"], result["why"], f"{result['seconds']:.0f} s"
        print(f"| {' | '.join(row)} |", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return int(bool(counts.keys() - {"passes", "refused"}))


def _result(name: str, compiled: bool) -> dict[str, Any]:
    start = time.monotonic()
    kind, why = verdict(name, compiled)
    return {
        "network": name,
        "verdict": kind,
        "why": why,
        "seconds": round(time.monotonic() - start, 1),
        "compiled": compiled,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
