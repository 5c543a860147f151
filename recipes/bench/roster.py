"""The contenders by name, and the forms of each, of which the fastest one takes part in a row.

| name | training |
| --- | --- |
| fnet | the recipe: `fit` over compiled steps, augmentation included |
| eager | an ordinary PyTorch script: PIL images, torchvision's transforms, a `DataLoader` |
| memory | PyTorch from preprocessed images in memory, not augmented |
| compiled | like memory, with `torch.compile(module)` |
| augmented | like memory, with crop and flip on the device |
| jax | flax and optax, the whole step in `jax.jit`, from preprocessed images in memory |
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import product
from typing import Any, Literal

from recipes.bench.flax_networks import NETWORKS
from recipes.bench.work import Work

JAX_PACKAGES = ("jax", "flax", "optax")

PeerName = Literal["fnet", "eager", "memory", "compiled", "augmented", "jax"]


@dataclass(frozen=True)
class Candidate:
    """One form of a contender.

    Attributes:
        make: "module:function" of a function `(work, **options) -> Streams`.
        note: a description of the form.
        options: the options of the function.
    """

    make: str
    note: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def candidates(name: PeerName, work: Work) -> list[Candidate]:
    """Return the forms of a contender, none if it does not take part in this row."""
    precisions = (False, True) if work.bf16 else (False,)
    match name:
        case "fnet":
            form = _precision(work.bf16)
            plain = Candidate("recipes.bench.own:training", form)
            graph = Candidate(plain.make, f"{form}, --cuda-graph", {"cuda_graph": True})
            return [plain, graph] if work.compiled and work.device != "cpu" else [plain]
        case "eager":
            return [
                Candidate(
                    "recipes.bench.torch_script:script", f"{workers} workers", {"workers": workers}
                )
                for workers in (0, 2)
            ]
        case "memory":
            return [_torch(*form) for form in product(precisions, (True, False), (True, False))]
        case "compiled":
            forms = product(precisions, (True, False), (True,))
            return [_torch(*form, compiled=True) for form in forms] if work.compiled else []
        case "augmented":
            forms = product(precisions, (True, False), (True,))
            return [_torch(*form, augmented=True) for form in forms] if work.augmented else []
        case "jax":
            return [
                Candidate("recipes.bench.jax_peer:jitted", _precision(bf16), {"bf16": bf16})
                for bf16 in precisions
                if work.network in NETWORKS
            ]


def missing(name: PeerName) -> str | None:
    """Return why a contender cannot run on this machine, or None if it can."""
    if name != "jax" or all(map(find_spec, JAX_PACKAGES)):
        return None
    return 'jax, flax or optax is not installed: pip install "fnet[bench]"'


def _torch(bf16: bool, channels_last: bool, fused: bool, **more: bool) -> Candidate:
    note = [
        _precision(bf16),
        "channels last" if channels_last else "channels first",
        "fused optimizer" if fused else "torch's default optimizer",
    ]
    options = {"bf16": bf16, "channels_last": channels_last, "fused": fused or None, **more}
    return Candidate("recipes.bench.torch_memory:memory", ", ".join(note), options)


def _precision(bf16: bool) -> str:
    return "bf16" if bf16 else "fp32"
