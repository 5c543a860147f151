"""A compiled graph: a function of a list of tensors, traced and compiled at its first call."""

import enum
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from fnet import private, tree
from fnet.compiler.backend import Backend, no_restart, torch_compile
from fnet.compiler.passes import Kernels, tracing_modes
from fnet.compiler.refusals import Refusals, explained
from fnet.compiler.trace import Watch, identity, stand_in
from fnet.tree import Tree
from fnet.tree.arguments import split_tensors

_LEAVES = (Tensor, bool, int, float, complex, str, bytes, enum.Enum, torch.dtype, torch.device)


class ClosesOverError(Exception):
    """The function closes over tensors that are not inputs of the graph: compile it again."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__("compiled again with these as inputs")
        self.tensors = list(tensors)


class Graph:
    """A function of a list of tensors, compiled at its first call.

    The inputs are the tensors of the signature, then the tensors that the function closes over.
    """

    def __init__(
        self,
        fn: Callable[..., Tree],
        join: Callable[[Sequence[Tensor]], Tree],
        closed_over: Sequence[Tensor],
        options: tuple[bool, Kernels],
    ) -> None:
        self.is_compiled = False
        self._fn, self._join_arguments = fn, join
        self._closed_over = [identity(x) for x in closed_over]
        # Dynamo does not apply torch function modes while it traces; a default device is one.
        device = private.default_device()
        self._device = nullcontext() if device.type == "cpu" else device
        self._kernels = options[1]
        self._runs = 0
        self._error: tuple[Exception, tuple[object, ...]] | None = None
        self._join: Callable[[Sequence[Tensor]], Tree] | None = None
        self._backend = Backend(*options)
        self._compiled = torch_compile(self._flat, getattr(fn, "__name__", "fn"), self._backend)
        self._direct: Callable[..., Sequence[Tensor]] | None = None

    def __call__(self, inputs: Sequence[Tensor]) -> Tree:
        """Return the results for inputs with the graph's signature."""
        call = self._direct if self._direct and private.stance() == "default" else self._compiled
        return self._join(call(*inputs))  # type: ignore[misc]

    def first(self, inputs: Sequence[Tensor]) -> Tree:
        """Compile, and return the results; an exception of the function is raised unchanged."""
        self._runs, self._error, results = 0, None, None
        try:
            with no_restart():
                results = self._compiled(*inputs)
        except Exception:
            if self._error is None:
                raise
        if results is None:  # outside of the except clause, which would set __context__
            error, arguments = self._error
            self._error = None
            error.args = arguments  # torch.fx appends its own text
            error.__suppress_context__ |= error.__context__ is None
            raise error
        self.is_compiled = self._runs > 0
        self._direct = self._backend.function(len(inputs), results)
        return self._join(results)  # type: ignore[misc]

    def _flat(self, *inputs: Tensor) -> list[Tensor]:
        if not private.is_tracing():  # the stance of torch.compiler is "force_eager"
            return self._results(inputs)
        self._runs += 1
        try:
            return self._traced(inputs)
        except Exception as error:
            # Stored, because Dynamo raises its own exception instead.
            error = explained(error)
            self._error = error, error.args
            raise

    def _results(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        count = len(inputs) - len(self._closed_over)
        args, kwargs = self._join_arguments(inputs[:count])
        tree_of_results = self._fn(*args, **kwargs)
        _require_tree(tree_of_results)
        results, self._join = split_tensors(tree_of_results)
        return results

    def _traced(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        is_first = self._runs == 1
        if is_first:
            private.forget_values(inputs)
            # New tensors, which only the function references if it keeps them.
            new = {id(x): x.detach() for x in inputs}
            inputs = [new[id(x)] for x in inputs]
            del new
        count = len(inputs) - len(self._closed_over)
        closed_over = dict(zip(self._closed_over, inputs[count:], strict=True))
        watch = Watch(closed_over, inputs if is_first else None)
        torch.clear_autocast_cache()  # it has weights that another run cast
        # Tensors that the function closes over are all found in the first run.
        watched = watch if is_first or self._closed_over else nullcontext()
        refusals = Refusals(watch.recorded) if is_first else nullcontext()
        try:
            with self._device, tracing_modes(self._kernels), watched, refusals:
                results = self._results(inputs)
        except Exception:
            if watch.errors:  # others follow from it
                raise watch.errors[0] from None
            raise
        finally:
            torch.clear_autocast_cache()
            watch.require_no_backward()
        if watched is watch:
            results = [watch.input(x) for x in results]
        if not is_first:
            results = [x.detach() if x.requires_grad else x for x in results]
        else:
            # Dynamo only needs the layout of the results; so the computed tensors can be freed.
            results = [stand_in(x) for x in results]
        if watch.errors:  # the function caught it
            raise watch.errors[0]
        if watch.found:
            raise ClosesOverError(list(watch.found.values()))
        if is_first:
            del inputs, closed_over
            watch.require_no_leak()
        return results


def _require_tree(results: Tree) -> None:
    for path, leaf in tree.flatten_with_path(results):
        if not isinstance(leaf, _LEAVES):
            where = f"at {path!r} " if path else ""
            raise TypeError(
                f"a compiled function returns trees (dict, list, tuple, NamedTuple) of tensors and "
                f"constants; {where}it returned a {type(leaf).__name__}"
            )
