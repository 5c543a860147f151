"""A zoo of torchvision's and timm's networks, each tested for what fnet promises of any module.

Run by hand: `python tests/zoo.py [NAMES]`. It prints a table, a row for each network (passes, or
refused or failed and why), and how many of each. It exits with 1 if a network fails, or is
refused that is not in `REFUSED`. Nothing is downloaded.
"""

import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import timm
import torch
import torchvision
from torch import Tensor, nn

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

# Pixels of each; more than SIZE where the network's shape is fixed or it pools more often.
TORCHVISION = {
    "squeezenet1_1": SIZE,
    "shufflenet_v2_x0_5": SIZE,
    "mobilenet_v3_small": SIZE,
    "mobilenet_v2": SIZE,
    "mnasnet0_5": SIZE,
    "resnet18": SIZE,
    "efficientnet_b0": SIZE,
    "regnet_y_400mf": SIZE,
    "googlenet": SIZE,
    "densenet121": SIZE,
    "resnext50_32x4d": SIZE,
    "efficientnet_v2_s": SIZE,
    "convnext_tiny": SIZE,
    "swin_t": SIZE,
    "swin_v2_t": SIZE,
    "inception_v3": 75,
    "alexnet": SIZE,
    "maxvit_t": 224,
    "vit_b_16": SIZE,
    "wide_resnet50_2": SIZE,
}
TIMM = [
    "ghostnet_050",
    "tinynet_e",
    "lcnet_050",
    "mobilenetv3_small_050",
    "mobilenetv4_conv_small",
    "efficientvit_b0",
    "efficientvit_m0",
    "edgenext_xx_small",
    "mobilevit_xxs",
    "mobilevitv2_050",
    "mobileone_s0",
    "repvit_m0_9",
    "repvgg_a0",
    "levit_128s",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "crossvit_tiny_240",
    "convit_tiny",
    "xcit_nano_12_p16_224",
    "pit_ti_224",
    "poolformer_s12",
    "poolformerv2_s12",
    "mixer_s32_224",
    "gmlp_ti16_224",
    "resmlp_12_224",
    "convmixer_768_32",
    "convnext_atto",
    "convnextv2_atto",
    "fastvit_t8",
    "hrnet_w18_small",
    "dla34",
    "res2net50_26w_4s",
    "resnetv2_50",
    "nf_regnet_b0",
    "nfnet_l0",
    "regnetx_002",
    "regnety_002",
    "resnet10t",
    "resnest14d",
    "seresnet18",
    "skresnet18",
    "hardcorenas_a",
    "semnasnet_075",
    "spnasnet_100",
    "fbnetc_100",
    "mixnet_s",
    "rexnet_100",
    "pvt_v2_b0",
    "tiny_vit_5m_224",
    "swin_tiny_patch4_window7_224",
    "coat_lite_tiny",
    "coatnet_nano_rw_224",
    "maxvit_nano_rw_256",
    "davit_tiny",
    "focalnet_tiny_srf",
    "caformer_s18",
    "inception_next_tiny",
    "hgnetv2_b0",
    "starnet_s1",
    "vovnet39a",
    "cspresnet50",
    "darknet17",
    "selecsls42",
    "dpn48b",
    "ese_vovnet19b_dw",
    "ghostnetv2_100",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "nest_tiny",
    "visformer_tiny",
    "sequencer2d_s",
    "volo_d1_224",
    "cait_xxs24_224",
    "beit_base_patch16_224",
    "eva02_tiny_patch14_224",
    "hiera_tiny_224",
    "mambaout_femto",
]


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
REFUSED: dict[str, str] = {}


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


def hold(name: str) -> str:
    """Hold a network against the promises, and return what was looked at.

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
    if name in COMPILED:
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


def verdict(name: str) -> tuple[str, str]:
    """Return "passes", "refused" or "FAILED", and why, in one line."""
    try:
        kind, why = "passes", hold(name)
    except ModelError as error:
        kind, why = "refused", str(error)
        if name not in REFUSED or not re.search(REFUSED[name], why):
            kind = "REFUSED UNEXPECTEDLY"
    except Exception as error:
        kind, why = "FAILED", f"{type(error).__name__}: {error}"
    if kind == "passes" and name in REFUSED:
        kind = "PASSES UNEXPECTEDLY"
    return kind, " ".join(why.split())[:400]


def main(networks: list[str]) -> int:
    """Print the table, and return the exit code."""
    counts: Counter[str] = Counter()
    for name in networks or names():
        start = time.monotonic()
        kind, why = verdict(name)
        counts[kind] += 1
        print(f"| {name} | {kind} | {why} | {time.monotonic() - start:.0f} s |", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return int(bool(counts.keys() - {"passes", "refused"}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
