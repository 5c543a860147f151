"""Error messages for a layer that does not fit its input, in the terms of the layer."""

from typing import Any

from torch import Tensor, nn

from fnet.nn.structure import called


def misfit(
    name: str, layer: nn.Module, inputs: tuple[Any, ...], images: Tensor, error: Exception
) -> str:
    """Return a message about the layer that raised an error: what it got, what it expected."""
    shapes = [tuple(x.shape) for x in inputs if isinstance(x, Tensor)]
    got = f"got {', '.join(map(str, shapes))}" if shapes else "was called"
    of = f" (images of shape {tuple(images.shape)})"
    if "saved tensor hooks" in str(error):
        return (
            f"{called(name, layer)} uses activation checkpointing (torch.utils.checkpoint), which "
            "torch.func cannot differentiate: build it without "
            "(memory_efficient=False, use_checkpoint=False)"
        )
    if "directly with `.data`" in str(error):
        return (
            f"{called(name, layer)} assigns to .data of a tensor in its forward pass, so the model "
            "would not be a pure function: in training mode, assign the buffer itself (self.name = "
            "new) or copy into it (self.name.copy_(new)); a weight is changed by the optimizer"
        )
    if "mutate a captured Tensor" in str(error):
        return (
            f"{called(name, layer)} writes to a weight in its forward pass, or to a tensor outside "
            "of the network, so the model would not be a pure function: a forward pass may change "
            "buffers, in training mode (a teacher's weights as buffers, their average by "
            "optim.ema_params); a weight is constrained by torch.nn.utils.parametrize, or by the "
            "optimizer"
        )
    if "setup_context" in str(error):
        return (
            f"{called(name, layer)} uses a torch.autograd.Function whose forward takes ctx, which "
            "torch.func cannot differentiate: split it into forward(*inputs) and "
            "setup_context(ctx, inputs, output)"
        )
    if "more than 1 value per channel" in str(error):
        return (
            f"{called(name, layer)} {got}: a single value per channel has no variance, so batch "
            f"norm cannot train on it; use batches of 2 images or more{of}"
        )
    return f"{called(name, layer)} {got}, {_expected(layer) or _which_fails(error)}{of}"


def _which_fails(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    kind = type(error).__name__
    return (
        f"which fails: {text}"
        if isinstance(error, RuntimeError)
        else f"which fails: {kind}: {text}"
    )


def _expected(layer: nn.Module) -> str | None:
    """Return the input shape that a layer of a known type expects, and its arguments."""
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
