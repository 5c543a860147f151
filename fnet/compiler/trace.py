"""Checks of a function during tracing: the tensors it closes over, random draws, leaked tensors."""

import gc
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fnet import private
from fnet.compiler.aliasing import require_plain
from fnet.compiler.refusals import TraceError, require_traceable
from fnet.tree.arguments import split_tensors

# Operations that `torch.tensor(...)` traces to: their data is a constant of the graph.
_LIFTS = (torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default)


class Watch(private.dispatch_mode()):  # type: ignore[misc]
    """A dispatch mode around a function that is traced on fake tensors.

    If an argument of an ATen operation is a real tensor (with data), the function closes over it,
    and the graph would hold its value as a constant. The mode replaces it by an input of the graph.
    If there is no such input yet, it uses an empty placeholder, and collects the tensor in `found`.

    Args:
        closed_over: the graph's inputs for the tensors known to be closed over, by `identity`.
        inputs: the inputs of the function, if only it references them. If given, the mode also
            refuses operations that cannot be traced, and records all results for `leaks`.
        parent: the mode around the `torch.cond` whose branch this mode is for.

    Attributes:
        found: tensors that the function closes over, but that are not inputs of the graph yet.
        errors: the errors raised so far; the function may have caught them.

    Raises:
        TraceError: by an operation that draws from the global generator, or needs values.
    """

    supports_higher_order_operators = True

    def __init__(
        self,
        closed_over: Mapping[Hashable, Tensor],
        inputs: Sequence[Tensor] | None = None,
        parent: "Watch | None" = None,
    ) -> None:
        super().__init__()
        self.found: dict[Hashable, Tensor] = parent.found if parent else {}
        self.errors: list[Exception] = parent.errors if parent else []
        self._inputs = dict(closed_over)
        self._is_strict: bool = parent._is_strict if parent else inputs is not None
        self._fakes: list[weakref.ref[Tensor]] = (
            parent._fakes if parent else [weakref.ref(x) for x in inputs or ()]
        )

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the operation with inputs of the graph instead of closed-over tensors."""
        kwargs = kwargs or {}
        if self._is_strict:
            with self.recorded():
                require_traceable(op, args, kwargs)
        join = None
        if any(map(callable, args)):
            args, join = self._with_branches(args)
        if op not in _LIFTS:
            args, kwargs = self._replaced(args), self._replaced(kwargs)
        result = op(*args, **kwargs)
        if self._is_strict:
            self._fakes += map(weakref.ref, _tensors(result))
        return result if join is None else join[-1](result)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Append an exception of this context to `errors`."""
        try:
            yield
        except Exception as error:
            self.errors.append(error)
            raise

    def require_no_backward(self) -> None:
        """Refuse `backward()` on tensors that are closed over; remove the gradients it stored."""
        stored = [x for x in self.found.values() if x.is_leaf and private.is_fake(x.grad)]
        for x in stored:
            x.grad = None
        if stored:
            raise TraceError(
                "backward() stores gradients in the attribute .grad of a tensor that the function "
                "closes over, so the function is not pure: use torch.func.grad or "
                "torch.autograd.grad, and return the gradients"
            )

    def require_no_leak(self) -> None:
        """Refuse a function that keeps a reference to a fake tensor.

        Call it last, when no reference to the function's inputs and result is left.
        """
        self._inputs.clear()
        if not any(ref() is not None for ref in self._fakes):
            return
        gc.collect()
        kept = [x for x in (ref() for ref in self._fakes) if x is not None]
        if kept:
            raise TraceError(
                f"the function keeps a reference to an argument, or to a tensor that it computes "
                f"({_holder(kept)}): during tracing, such a tensor has no data. Return it instead"
            )

    def input(self, x: Tensor) -> Tensor:
        """Return the graph's input for a real tensor; return a fake tensor unchanged."""
        if private.is_fake(x):
            return x
        with self.recorded():
            require_plain(x, "that the function closes over")
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
                with Watch(dict(zip(keys, operands[own:], strict=True)), parent=self):
                    result = branch(*operands[:own])
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
