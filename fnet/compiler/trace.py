"""Checks of a function during tracing: the tensors it closes over, random draws, leaked tensors."""

import gc
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fnet import private
from fnet.tree.arguments import split_tensors

_DRAWS = torch.Tag.nondeterministic_seeded
_READS_VALUES = torch.Tag.data_dependent_output
_HAS_DYNAMIC_SHAPE = torch.Tag.dynamic_output_shape
# Operations that `torch.tensor(...)` traces to: their data is a constant of the graph.
_LIFTS = (torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default)


class TraceError(RuntimeError):
    """The function cannot be compiled: the message says what it did, and what to write instead."""


class Watch(private.dispatch_mode()):  # type: ignore[misc]
    """A dispatch mode around a function that is traced on fake tensors.

    If an argument of an ATen operation is a real tensor (with data), the function closes over it,
    and the graph would hold its value as a constant. The mode replaces it by an input of the graph.
    If there is no such input yet, it uses an empty placeholder, and collects the tensor in `found`.

    Args:
        closed_over: the graph's inputs for the tensors known to be closed over, by `identity`.
        inputs: the inputs of the function. If given, the mode also refuses operations that cannot
            be traced, and records all results for `leaks`.

    Attributes:
        found: tensors that the function closes over, but that are not inputs of the graph yet.

    Raises:
        TraceError: by an operation that draws from the global generator, or needs values.
    """

    supports_higher_order_operators = True

    def __init__(
        self, closed_over: Mapping[Hashable, Tensor], inputs: Sequence[Tensor] | None = None
    ) -> None:
        super().__init__()
        self.found: dict[Hashable, Tensor] = {}
        self._inputs = dict(closed_over)
        self._known = None if inputs is None else {id(x) for x in inputs}
        self._computed: list[weakref.ref[Tensor]] = []

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the operation with inputs of the graph instead of closed-over tensors."""
        kwargs = kwargs or {}
        if self._known is not None:
            _require_traceable(op, args, kwargs)
        join = None
        if any(map(callable, args)):
            args, join = self._with_branches(args)
        if op not in _LIFTS:
            args, kwargs = self._replaced(args), self._replaced(kwargs)
        result = op(*args, **kwargs)
        if self._known is not None:
            new = (x for x in _tensors(result) if id(x) not in self._known)
            self._computed += map(weakref.ref, new)
        return result if join is None else join[-1](result)

    def leaks(self) -> str | None:
        """Return a phrase that says where a fake tensor is still referenced, or None.

        Call it when no reference to the function's result is left.
        """
        if not any(ref() is not None for ref in self._computed):
            return None
        gc.collect()
        kept = [x for x in (ref() for ref in self._computed) if x is not None]
        return _holder(kept) if kept else None

    def input(self, x: Tensor) -> Tensor:
        """Return the graph's input for a real tensor; return a fake tensor unchanged."""
        if private.is_fake(x):
            return x
        key = identity(x)
        if key not in self._inputs:
            self.found[key] = x
            self._inputs[key] = stand_in(x)
        return self._inputs[key]

    def _replaced(self, node: Any) -> Any:
        if isinstance(node, Tensor):
            return self.input(node)
        if isinstance(node, list | tuple):
            return type(node)(map(self._replaced, node))
        if isinstance(node, dict):
            return {name: self._replaced(value) for name, value in node.items()}
        return node

    def _with_branches(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[Any]]:
        """Return the arguments of a higher-order operation such as `torch.cond`.

        Its branches are traced separately, while this mode is not active. The tensors that they
        close over are appended to the operands. The branches return flat tuples, as Inductor
        expects; the returned list collects the functions that restore the results from such a
        tuple.
        """
        keys, inputs = list(self._inputs), list(self._inputs.values())
        joins: list[Any] = []

        def watched(branch: Callable[..., Any]) -> Callable[..., Any]:
            def call(*operands: Tensor) -> Any:
                own = len(operands) - len(keys)
                watch = Watch(dict(zip(keys, operands[own:], strict=True)))
                with watch:
                    result = branch(*operands[:own])
                self.found |= watch.found
                results, join = split_tensors(result)
                joins.append(join)
                return tuple(results)

            return call

        *first, operands = args
        functions = (watched(x) if callable(x) else x for x in first)
        return (*functions, (*operands, *inputs)), joins


def identity(x: Tensor) -> Hashable:
    """Return a key that is equal for two tensors with the same memory and layout.

    It is not the object's id, because `torch.from_numpy` makes a new object each time.
    """
    return x.data_ptr(), x.shape, x.stride(), x.dtype, x.device


def stand_in(x: Tensor) -> Tensor:
    """Return an empty tensor of the same layout; under a fake tensor mode it is a fake tensor."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)


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
    ".tolist()), and there are no values during tracing. Use torch.where or torch.cond, or read "
    "the value outside of the compiled function"
)


def _require_traceable(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    tags = getattr(op, "tags", ())
    if _DRAWS in tags and _draws(op, args, kwargs):
        raise TraceError(
            f"{op} draws from the global generator, so the function is not pure: draw from a key "
            "(fnet.random); for a network with dropout, use fnet.nn.from_module"
        )
    # `torch.tensor(3.0)` in the function is a constant: its value is known during tracing.
    if any(getattr(x, "constant", None) is not None for x in args):
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
    values = {**dict(zip(private.argument_names(op), args, strict=False)), **kwargs}
    rate = values.get("dropout_p", values.get("p"))
    return not (isinstance(rate, float) and rate == 0.0) and values.get("train") is not False


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, list | tuple):
        for part in result:
            yield from _tensors(part)


def _holder(kept: Sequence[Tensor]) -> str:
    """Describe the first of these tensors, with the dict key or attribute that references it."""
    x, shape = kept[0], tuple(kept[0].shape)
    for holder in gc.get_referrers(x):
        entries = holder if isinstance(holder, dict) else getattr(holder, "__dict__", {})
        name = next((key for key, value in entries.items() if value is x), None)
        if name is not None:
            return f"a tensor of shape {shape}, under {name!r} of a {type(holder).__name__}"
    return f"a tensor of shape {shape}"
