"""A zoo of torchvision's and timm's networks, each held against what fnet promises of any module.

Run by hand: `python tests/zoo.py [NAMES]`. It prints a line for each network: passes, or refused or
failed and why. Nothing is downloaded.
"""

import sys
from collections.abc import Callable
from functools import partial

import timm
import torch
import torchvision
from torch import nn

from fnet import losses, optim, random, tree
from fnet.data import Batch
from fnet.nn import ModelError, check, from_module, from_state_dict, to_module
from fnet.step import make_grad, make_step
from fnet.testing import assert_depends_on_key, assert_keeps_structure, assert_pure

BATCH = 2
SIZE = 64  # pixels
MOST_PARAMETERS = 100_000_000  # a larger network is run on the meta device only
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
    "vit_b_16": 224,
    "wide_resnet50_2": SIZE,
    "vgg11_bn": SIZE,
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
    "vgg11",
    "vit_huge_patch14_224",
]


def names() -> list[str]:
    """Return the names of all networks, torchvision's first."""
    return [*TORCHVISION, *(f"timm/{name}" for name in TIMM)]


def described(name: str) -> tuple[Callable[[], nn.Module], int]:
    """Return what makes a network, and the height of its images in pixels."""
    if name.startswith("timm/"):
        return _timm(name.removeprefix("timm/"))
    options = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    if options:
        options["init_weights"] = False  # init draws truncated normals, slowly
    make = partial(torchvision.models.get_model, name, weights=None, num_classes=CLASSES)
    return partial(make, **options), TORCHVISION.get(name, SIZE)


def _timm(name: str) -> tuple[Callable[[], nn.Module], int]:
    make = partial(timm.create_model, name, pretrained=False, num_classes=CLASSES)
    # Draw, where the network can.
    for options in ({"drop_rate": 0.1, "drop_path_rate": 0.1}, {"drop_rate": 0.1}, {}):
        try:
            with torch.device("meta"):
                module = make(**options)
            break
        except (TypeError, NotImplementedError, RuntimeError):
            continue
    else:
        options, module = {}, make()
    settings = module.default_cfg
    fixed = settings.get("fixed_input_size", False)
    return partial(make, **options), settings["input_size"][1] if fixed else SIZE


def hold(name: str) -> str:
    """Hold a network against the promises, and return what was looked at.

    Raises:
        ModelError: fnet refuses it.
        AssertionError: it does not keep a promise.
    """
    make, size = described(name)
    parameters = _size(make)
    if parameters > MOST_PARAMETERS:
        check(from_module(partial(_on_meta, make)), (3, size, size), batch_size=BATCH)
        return f"on the meta device, {parameters / 1e6:.0f} M parameters"
    model = from_module(make)
    check(model, (3, size, size), batch_size=BATCH)
    images = random.normal(random.key(1), (BATCH, 3, size, size))
    params = model.init(random.key(0))
    plain = make().eval()

    own = from_state_dict(params, plain.state_dict())
    module = to_module(model, own).eval()
    there = module.state_dict()
    assert list(there) == list(plain.state_dict()), "the state dict has other names"
    for leaf, value in plain.state_dict().items():
        assert torch.equal(there[leaf], value), f"the state dict has another {leaf}"
    tree.assert_equal(from_state_dict(params, there), own)
    with torch.no_grad():
        logits, _ = model.apply(own, images)
        # The plain module with weights of the same strides: these decide the last bits.
        assert torch.equal(logits, module(images)), "evaluation logits are other than the module's"
        torch.testing.assert_close(logits, plain(images), rtol=1e-3, atol=1e-4)

    facts = model.apply.network.facts((BATCH, 3, size, size), torch.float32, train=True)  # type: ignore[attr-defined]
    draws = bool(facts.drew) or any(float(params.stats[f"{x}.p"]) for x in _rates(model))
    tx = optim.sgd(0.1, momentum=0.9)
    step = make_step(make_grad(model, losses.cross_entropy, preprocess=lambda x: x), tx)
    rows = torch.arange(BATCH)
    batch = Batch(images, rows, random.key(5), rows, torch.ones(BATCH), torch.tensor(0))
    state = tx.init(params.trainable)
    assert_pure(step, params, state, batch)
    assert_keeps_structure(step, params, state, batch)
    if draws:
        assert_depends_on_key(step, params, state, batch)
    return f"{size} pixels, {parameters / 1e6:.1f} M parameters" + (", draws" if draws else "")


def _rates(model) -> list[str]:
    return [name for name in model.apply.network.rates if name]


def _on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


def _size(make: Callable[[], nn.Module]) -> int:
    try:
        module = _on_meta(make)
    except (RuntimeError, NotImplementedError):  # a value of a tensor decides how it is built
        module = make()
    return sum(leaf.numel() for leaf in module.parameters())


def verdict(name: str) -> str:
    """Return "passes", "refused" or "FAILED", and why, in one line."""
    try:
        return f"passes: {hold(name)}"
    except ModelError as error:
        return f"refused: {error}"
    except Exception as error:
        return f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:300]}"


if __name__ == "__main__":
    for network in sys.argv[1:] or names():
        print(f"{network}: {verdict(network)}", flush=True)
