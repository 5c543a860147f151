"""A dry run of a network on the meta device: what does not fit, and what is not pure.

No weight is kept and nothing is computed; errors name the layer by its dotted name.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fnet.nn.model import Model
from fnet.nn.skeleton import ModelError, skeleton


def check(model: Model, input_shape: tuple[int, ...]) -> int:
    """Run the model without data on two images of `input_shape` (C, H, W), in both modes.

    Returns the number of classes.

    Raises:
        ModelError: layers that do not fit together (the layer's dotted name, the shape it got and
            the shape it expected), or an operation that draws from the global random generator.
    """
    module = skeleton(model.make)
    for train in (True, False):
        logits = _run(module.train(train), torch.empty(2, *input_shape, device="meta"))
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(
            f"a classifier returns logits [N, classes]; for images {[2, *input_shape]} this one "
            f"returned {shape}"
        )
    return logits.shape[1]


def _run(module: nn.Module, images: Tensor) -> Any:
    entered: list[tuple[str, nn.Module, tuple[Any, ...]]] = []
    hooks = []
    for name, layer in module.named_modules():

        def enter(layer: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
            entered.append((name, layer, inputs))

        hooks.append(layer.register_forward_pre_hook(enter))
        hooks.append(layer.register_forward_hook(lambda *_: entered.pop() and None))
    try:
        with torch.no_grad(), _RefuseGlobalRandomness():
            return module(images)
    except ModelError as error:
        raise ModelError(f"layer {_name(entered)}: {error}") from None
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise ModelError(_misfit(entered, images, error)) from error
    finally:
        for hook in hooks:
            hook.remove()


class _RefuseGlobalRandomness(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else PyTorch imports Dynamo, for seconds, to keep it out of here: nothing is compiled.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise ModelError(
                f"{func.overloadpacket.__name__} draws from the global random generator, so the "
                "model would not be a pure function; use a layer that fnet can key (nn.Dropout, "
                "nn.Dropout1d to 3d, torchvision's StochasticDepth)"
            )
        return func(*args, **(kwargs or {}))


def _name(entered: list[tuple[str, nn.Module, tuple[Any, ...]]]) -> str:
    name, layer, _ = entered[-1]
    return f"{name!r} ({type(layer).__name__})" if name else f"of {type(layer).__name__}"


def _misfit(
    entered: list[tuple[str, nn.Module, tuple[Any, ...]]], images: Tensor, error: Exception
) -> str:
    _, layer, inputs = entered[-1]
    shapes = [tuple(x.shape) for x in inputs if isinstance(x, Tensor)]
    got = f"got {', '.join(map(str, shapes))}" if shapes else "was called"
    expected = _expected(layer) or f"which fails: {error}"
    return f"layer {_name(entered)} {got}, {expected} (images of shape {tuple(images.shape)})"


def _expected(layer: nn.Module) -> str | None:
    """Return what a layer of a known type expects of its input, in its terms and as a shape."""
    match layer:
        case nn.Linear():
            return f"expected (N, {layer.in_features}): in_features={layer.in_features}"
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            spatial = ", ".join("DHW"[-len(layer.kernel_size) :])
            return (
                f"expected (N, {layer.in_channels}, {spatial}): in_channels={layer.in_channels}, "
                f"each side at least the kernel {tuple(layer.kernel_size)}"
            )
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d():
            return f"expected (N, {layer.num_features}, ...): num_features={layer.num_features}"
    return None
