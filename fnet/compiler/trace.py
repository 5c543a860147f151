"""A watch over a function while a compiler traces it: what it closes over, draws and keeps."""

import gc
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fnet import private
from fnet.tree.arguments import split_tensors

_DRAWS = torch.Tag.nondeterministic_seeded
_READS = torch.Tag.data_dependent_output
_MEASURES = torch.Tag.dynamic_output_shape
# What makes a tensor of numbers: `torch.tensor` in a traced function is a constant of the graph.
_LIFTS = (torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default)


class TraceError(RuntimeError):
    """A function that cannot be compiled: what it did, and what to write instead."""


class Watch(private.dispatch_mode()):  # type: ignore[misc]
    """A mode that sees each ATen operation of a function that is traced on fake tensors.

    A tensor with data among the arguments of an operation is one that the function closes over:
    the graph would hold its value for ever. The mode replaces it by an input of the graph, or, as
    long as there is none, by a stand-in, and collects it.

    Args:
        closed_over: inputs of the graph for the tensors known to be closed over, by `identity`.
        inputs: of the function; given, what operations compute of them is looked at by `leaks`.

    Attributes:
        found: tensors that the function closes over and that no input stands for yet.

    Raises:
        TraceError: by an operation that draws from the global generator.
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
        """Call the operation on inputs of the graph instead of closed-over tensors."""
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
        """Say where a tensor without data is still held, or None if none is.

        Call it when nothing of the function's result is held any more.
        """
        if not any(ref() is not None for ref in self._computed):
            return None
        gc.collect()
        kept = [x for x in (ref() for ref in self._computed) if x is not None]
        return _holder(kept) if kept else None

    def input(self, x: Tensor) -> Tensor:
        """Return the input of the graph that stands for a tensor, or the tensor itself."""
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

        Its functions are traced apart, when this mode is not entered. What they close over are
        further operands, which come last. They return tuples, as Inductor expects: the list gets
        what makes the results of such a tuple again.
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
    """Return what two views of the same memory have in common if they are alike.

    Not the object: `torch.from_numpy` makes another one each time.
    """
    return x.data_ptr(), x.shape, x.stride(), x.dtype, x.device


def stand_in(x: Tensor) -> Tensor:
    """Return an empty tensor of the same layout; under a fake tensor mode it is fake."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)


def explained(error: Exception) -> Exception:
    """Return an error of a trace as a user can act on it; most are the function's own."""
    name = type(error).__name__
    if name in ("DataDependentOutputException", "GuardOnDataDependentSymNode"):
        return TraceError(_NO_VALUES)
    if isinstance(error, RuntimeError) and ".tolist() is not supported" in str(error):
        return TraceError(_NO_VALUES)
    return error


_NO_VALUES = (
    "data-dependent control flow: the function reads a tensor's value (if, float, int, .item(), "
    ".tolist()), and a trace has no values. Use torch.where or torch.cond, or read the value "
    "outside of the compiled function"
)


def _require_traceable(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    tags = getattr(op, "tags", ())
    if _DRAWS in tags and _draws(op, args, kwargs):
        raise TraceError(
            f"{op} draws from the global generator, which a pure function does not: draw from a "
            "key (fnet.random), or give a layer's dropout to fnet.nn.from_module"
        )
    # `torch.tensor(3.0)` in the function is a constant, whose value is known.
    if any(getattr(x, "constant", None) is not None for x in args):
        return
    if _READS in tags:
        raise TraceError(_NO_VALUES)
    if _MEASURES in tags and not _is_gather(op, args):
        raise TraceError(
            f"a data-dependent shape: that of the result of {op} follows from a tensor's values, "
            "as with nonzero or a mask as an index. Use torch.where"
        )


def _is_gather(op: Any, args: tuple[Any, ...]) -> bool:
    # Only a mask as an index makes a shape of values.
    if op is not torch.ops.aten.index.Tensor:
        return False
    masks = (torch.bool, torch.uint8)
    return not any(index is not None and index.dtype in masks for index in args[1])


def _draws(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    # Dropout with rate 0, attention without dropout: tagged, but nothing is drawn.
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
    """Say what holds the first of these tensors: a name, if it is in a dict or an object."""
    x, shape = kept[0], tuple(kept[0].shape)
    for holder in gc.get_referrers(x):
        entries = holder if isinstance(holder, dict) else getattr(holder, "__dict__", {})
        name = next((key for key, value in entries.items() if value is x), None)
        if name is not None:
            return f"a tensor of shape {shape}, under {name!r} of a {type(holder).__name__}"
    return f"a tensor of shape {shape}"
