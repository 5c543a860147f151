"""Refusals of what cannot be traced: reads of values, random draws, data-dependent shapes."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fnet import private

_DRAWS = torch.Tag.nondeterministic_seeded
_READS_VALUES = torch.Tag.data_dependent_output
_HAS_DYNAMIC_SHAPE = torch.Tag.dynamic_output_shape


class TraceError(RuntimeError):
    """The function cannot be compiled: the message says what it did, and what to write instead."""


def explained(error: Exception) -> Exception:
    """Return a TraceError with advice for an error of tracing; return other errors unchanged."""
    name = type(error).__name__
    if name in ("DataDependentOutputException", "GuardOnDataDependentSymNode"):
        return TraceError(_NO_VALUES)
    if isinstance(error, RuntimeError) and ".tolist() is not supported" in str(error):
        return TraceError(_NO_VALUES)
    return error


_NO_VALUES = (
    "data-dependent control flow: the function reads a tensor's value (if, float, int, .item(), "
    ".tolist(), .numpy(), torch.tensor([x, y])), and there are no values during tracing. Use "
    "torch.where, torch.cond or torch.stack, or read the value outside of the compiled function"
)
_NO_COPY = (
    "copy.deepcopy and pickle read a tensor's memory, which it lacks during tracing: x.clone()"
)
_NO_LSTM = (
    "PyTorch cannot differentiate nn.LSTM in torch.func during tracing: use nn.GRU or nn.LSTMCell, "
    "or do not compile the step (--no-compile)"
)
_REFUSED = {
    Tensor.tolist: _NO_VALUES,
    Tensor.numpy: _NO_VALUES,
    Tensor.__array__: _NO_VALUES,
    Tensor.__deepcopy__: _NO_COPY,
    Tensor.__reduce_ex__: _NO_COPY,
}
_OF_NUMBERS = (torch.tensor, torch.as_tensor, torch.asarray)


class Refusals(TorchFunctionMode):
    """A torch function mode that refuses functions by name, before they are ATen operations.

    A read of values that is no ATen operation, of a tensor that the function closes over, would be
    a constant of the graph. For an LSTM, PyTorch's own error says nothing.

    Args:
        recorded: a context manager that notes the exception.
    """

    def __init__(self, recorded: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__()
        self._recorded = recorded

    def __torch_function__(
        self, fn: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function unless it is refused."""
        advice = _advice(fn, args)
        if advice is not None:
            with self._recorded():
                raise TraceError(advice)
        return fn(*args, **(kwargs or {}))


def _advice(fn: Any, args: tuple[Any, ...]) -> str | None:
    """Return what to write instead of a call; None: it can be traced."""
    if fn in _OF_NUMBERS and args and _has_tensor(args[0]):
        return _NO_VALUES
    if fn is Tensor.__format__ and args[0].dim() == 0:
        return _NO_VALUES
    if fn is torch.lstm and any(map(_has_gradient, args)):
        return _NO_LSTM
    return _REFUSED.get(fn)


def _has_gradient(data: Any) -> bool:
    values = data if isinstance(data, list | tuple) else [data]
    return any(isinstance(x, Tensor) and x.requires_grad for x in values)


def _has_tensor(data: Any) -> bool:
    return isinstance(data, list | tuple) and any(
        isinstance(x, Tensor) or _has_tensor(x) for x in data
    )


def _is_constant(x: Any) -> bool:
    # `torch.tensor(3.0)` in the function is a constant: its value is known during tracing.
    return getattr(x, "constant", None) is not None


def require_traceable(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise a TraceError if an ATen operation draws random numbers or needs values."""
    tags = getattr(op, "tags", ())
    if _DRAWS in tags and _draws(op, args, kwargs):
        explicit = any(isinstance(x, torch.Generator) for x in (*args, *kwargs.values()))
        source = "a torch.Generator" if explicit else "the global generator"
        raise TraceError(
            f"{op} draws from {source}, so the function is not pure: draw from a key "
            "(fnet.random); for a network with dropout, use fnet.nn.from_module"
        )
    if any(map(_is_constant, args)):
        return
    if _READS_VALUES in tags:
        raise TraceError(_NO_VALUES)
    if _HAS_DYNAMIC_SHAPE in tags and not _is_gather(op, args):
        raise TraceError(
            f"a data-dependent shape: the shape of the result of {op} depends on a tensor's "
            "values, as with nonzero or a mask as an index. Use torch.where"
        )


def _is_gather(op: Any, args: tuple[Any, ...]) -> bool:
    # Only a mask as an index gives a data-dependent shape.
    if op is not torch.ops.aten.index.Tensor:
        return False
    masks = (torch.bool, torch.uint8)
    return not any(index is not None and index.dtype in masks for index in args[1])


def _draws(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    # Dropout with rate 0 and attention without dropout are tagged, but draw nothing.
    values = private.arguments(op, args, kwargs)
    rate = values.get("dropout_p", values.get("p"))
    return not (isinstance(rate, float) and rate == 0.0) and values.get("train") is not False
