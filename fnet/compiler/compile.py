"""A pure function of trees of tensors as one graph of `torch.compile`, for each signature.

What a call is known by (its signature) is compared here, in microseconds, so Dynamo's guards are
dropped; and Dynamo calls the function on fake tensors (`nonstrict_trace`) instead of reading its
bytecode. So the Python of the function may be any, and a compiled step starts sooner.
"""

import enum
import functools
import itertools
import os
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FunctionType
from typing import Any, TypeVar

import torch
from torch import Tensor

from fnet import private, tree
from fnet.compiler import passes
from fnet.compiler.aliasing import extent, overlaps
from fnet.compiler.kernels import tracing_modes
from fnet.compiler.passes import Kernels
from fnet.compiler.trace import TraceError, Watch, explained, identity, stand_in
from fnet.tree import Tree
from fnet.tree.arguments import signature, split

F = TypeVar("F", bound=Callable[..., Any])

# Compiling changes the state of the process, so one thread does it at a time.
_COMPILING = threading.RLock()
_NUMBERS = itertools.count()
# A function may close over a tensor that it only uses because of another one.
_MOST_ATTEMPTS = 4
_LEAVES = (Tensor, bool, int, float, complex, str, bytes, enum.Enum, torch.dtype, torch.device)


def compile(
    fn: F, *, donate: bool = False, cpp_wrapper: bool = False, kernels: Kernels = "auto"
) -> F:
    """Return `fn` (a step, an evaluation step, any pure function of trees) compiled.

    The signature of `fn` stays. As `jax.jit`: at the first call, and at the first call with
    another structure, shape, dtype, stride, device or aliasing of its arguments, `fn` runs a few
    times on fake tensors, and what it computes of them is the graph. Later calls run the graph
    alone; a new value never compiles again. What is no tensor in the arguments must be hashable,
    and there is a graph for each value of it. Tensors that `fn` closes over are read at each call;
    what else it closes over is taken to stay what it is. An exception of `fn` is raised as it is.

    Compile outermost: `compile(vmap(step))`; derivatives are taken inside of `fn`, results take no
    part in autograd. Within a function that is being compiled, the result is `fn`. Several threads
    may call the result. On the CPU it needs a C++ compiler (`fnet.run.runtime.missing_compiler`
    tells). `torch.compiler.set_stance` and `TORCH_LOGS` work as for any `torch.compile`.

    Args:
        fn: what to compile.
        donate: of a step only: the caller gives up `params` and `opt_state`, and gets the same
            tensors back with the new values in them. There is then one copy of the state in
            memory instead of two. As `jax.jit(donate_argnums=(0, 1))`.
        cpp_wrapper: call the kernels from C++, not from Python. Steps of a few milliseconds get
            quicker, compiling takes longer. As Inductor's option of this name.
        kernels: "auto" to exchange operations for fnet's kernels where these are quicker;
            "library" to leave the graph as it is.

    Raises:
        RuntimeError: by the result, called within `grad` or `vmap`.
        TraceError: by the result, where `fn` branches on a value, draws from the global generator,
            or keeps a tensor that it computes.
        TypeError: by the result, for an argument that is neither a tensor nor hashable, or a
            result that is no tree of tensors and constants.
    """
    if kernels not in ("auto", "library"):
        raise ValueError(f'kernels must be "auto" or "library", got {kernels!r}')
    if not donate:
        return _compiled(fn, cpp_wrapper, kernels)  # type: ignore[return-value]

    def update(params: Tree, opt_state: Tree, batch: Tree) -> Tree:
        new_params, new_state, sums = fn(params, opt_state, batch)
        tree.map(torch.Tensor.copy_, params, new_params)
        tree.map(torch.Tensor.copy_, opt_state, new_state)
        return sums

    compiled = _compiled(update, cpp_wrapper, kernels)

    @_named(fn)
    def step(params: Tree, opt_state: Tree, batch: Tree) -> tuple[Tree, Tree, Tree]:
        return params, opt_state, compiled(params, opt_state, batch)

    return step  # type: ignore[return-value]


def _compiled(fn: Callable[..., Tree], cpp_wrapper: bool, kernels: Kernels) -> Callable[..., Tree]:
    if private.nonstrict_trace() is None:
        told = _backend(cpp_wrapper, kernels)
        told["options"].pop("guard_filter_fn")
        return torch.compile(fn, fullgraph=True, dynamic=False, **told)
    signatures: dict[Hashable, _Signature] = {}

    @_named(fn)
    def call(*args: Tree, **kwargs: Tree) -> Tree:
        if private.is_tracing():
            return fn(*args, **kwargs)
        if private.is_transformed():
            raise RuntimeError(
                "a compiled function is called within grad or vmap: compile what takes them, "
                "compile(vmap(step)) instead of vmap(compile(step))"
            )
        tensors, known_by = signature((args, kwargs))
        key = known_by, _modes()
        try:
            found = signatures.get(key)
        except TypeError as error:
            raise TypeError(
                f"a compiled function takes trees of tensors and of hashable constants: {error}"
            ) from None
        if found is None:
            new = _Signature(fn, (args, kwargs), (cpp_wrapper, kernels))
            found = signatures.setdefault(key, new)
        return found(tensors)

    return call


# As `functools.wraps`, but the module stays the compiler's: what is called lives here.
_named = functools.partial(functools.wraps, assigned=("__name__", "__qualname__", "__doc__"))


class _Signature:
    """The graphs of one signature: there is one for each aliasing of the tensors."""

    def __init__(self, fn: Callable[..., Tree], like: Tree, options: tuple[bool, Kernels]) -> None:
        tensors, self._join = split(like)
        self._fn, self._options = fn, options
        self._extents = [extent(x) for x in tensors]
        self._requires_grad = any(x.requires_grad for x in tensors)
        self._closed_over: list[Tensor] = []
        self._graphs: dict[Hashable, _Graph] = {}

    def __call__(self, tensors: list[Tensor]) -> Tree:
        if self._requires_grad:
            tensors = [x.detach() for x in tensors]
        if self._closed_over:
            return self._with_closed_over(tensors)
        graph = self._graphs.get(overlaps(tensors, self._extents))
        if graph is None or not graph.is_compiled:
            return self._first_call(tensors)
        return graph(tensors)

    def _with_closed_over(self, tensors: list[Tensor]) -> Tree:
        graph = self._graphs.get(self._key(tensors))
        if graph is None or not graph.is_compiled:
            return self._first_call(tensors)
        return graph([*tensors, *(x.detach() for x in self._closed_over)])

    def _key(self, tensors: list[Tensor]) -> Hashable:
        inputs = [*tensors, *self._closed_over]
        layouts = tuple((x.shape, x.stride(), x.dtype) for x in self._closed_over)
        extents = [*self._extents, *map(extent, self._closed_over)]
        aliases = overlaps(inputs, extents)
        return (layouts, aliases) if layouts else aliases

    def _first_call(self, tensors: list[Tensor]) -> Tree:
        with _COMPILING:
            for _ in range(_MOST_ATTEMPTS):
                key = self._key(tensors)
                graph = self._graphs.get(key)
                if graph is None:
                    graph = _Graph(self._fn, self._join, self._closed_over, self._options)
                    self._graphs[key] = graph
                try:
                    return graph.first([*tensors, *(x.detach() for x in self._closed_over)])
                except _ClosesOverError as error:
                    del self._graphs[key]
                    self._closed_over = [*self._closed_over, *error.tensors]
                except BaseException:
                    del self._graphs[key]
                    raise
        raise TraceError(
            "the function makes a tensor of data outside of PyTorch anew at each run: make it "
            "before, and close over it or hand it in"
        )


class _ClosesOverError(Exception):
    """A trace has found tensors that the function closes over."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__("compiled again with these as inputs")
        self.tensors = list(tensors)


class _Graph:
    """A function of a list of tensors, compiled at its first call.

    The inputs are those of the signature, then the tensors that are closed over.
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
        # Dynamo leaves out the modes of functions, and a default device is one.
        device = private.default_device()
        self._device = nullcontext() if device.type == "cpu" else device
        self._kernels = options[1]
        self._runs = 0
        self._error: Exception | None = None
        self._join: Callable[[Sequence[Tensor]], Tree] | None = None
        self._backend = _Backend(*options)
        self._compiled = _torch_compile(self._flat, getattr(fn, "__name__", "fn"), self._backend)
        self._direct: Callable[..., Sequence[Tensor]] | None = None

    def __call__(self, inputs: Sequence[Tensor]) -> Tree:
        call = self._direct if self._direct and private.stance() == "default" else self._compiled
        return self._join(call(*inputs))  # type: ignore[misc]

    def first(self, inputs: Sequence[Tensor]) -> Tree:
        """Compile, and return the results; raise what the function raised."""
        self._runs = 0
        try:
            with _no_restart():
                results = self._compiled(*inputs)
        except Exception:
            if self._error is None:
                raise
            error, self._error = self._error, None
            raise error from None
        self.is_compiled = self._runs > 0
        self._direct = self._backend.function(len(inputs), results)
        return self._join(results)  # type: ignore[misc]

    def _flat(self, *inputs: Tensor) -> list[Tensor]:
        if not private.is_tracing():  # the stance is not to compile
            return self._results(inputs)
        self._runs += 1
        try:
            return self._traced(inputs)
        except Exception as error:
            # Dynamo would raise another one instead.
            self._error = explained(error)
            raise

    def _results(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        count = len(inputs) - len(self._closed_over)
        args, kwargs = self._join_arguments(inputs[:count])
        tree_of_results = self._fn(*args, **kwargs)
        _require_tree(tree_of_results)
        results, self._join = split(tree_of_results)
        return results

    def _traced(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        is_first = self._runs == 1
        if is_first:
            private.forget_values(inputs)
        count = len(inputs) - len(self._closed_over)
        closed_over = dict(zip(self._closed_over, inputs[count:], strict=True))
        watch = Watch(closed_over, inputs if is_first else None)
        torch.clear_autocast_cache()  # of weights cast in another run
        # What the first run did not find, no other will.
        watched = watch if is_first or self._closed_over else nullcontext()
        with self._device, tracing_modes(self._kernels), watched:
            results = self._results(inputs)
        torch.clear_autocast_cache()
        if watched is watch:
            results = [watch.input(x) for x in results]
        if not is_first:
            results = [x.detach() if x.requires_grad else x for x in results]
        else:
            # Only their layout is looked at; so what the function computed can be freed.
            results = [stand_in(x) for x in results]
        if watch.found:
            raise _ClosesOverError(list(watch.found.values()))
        leak = watch.leaks()
        if leak is not None:
            raise TraceError(
                f"the function keeps what it computes ({leak}): a trace computes with tensors "
                "that have no data. Return it instead"
            )
        return results


class _Backend:
    """Inductor, which remembers what it made of a graph.

    A graph that Dynamo hands over has the function's inputs and results in order, unless two of
    them are one tensor; then what is remembered is not used.
    """

    def __init__(self, cpp_wrapper: bool, kernels: Kernels) -> None:
        self.told = _backend(cpp_wrapper, kernels)
        self._compiler = self.told["backend"]
        if callable(self._compiler):
            self.told["backend"] = self._compile
        self._made: Callable[..., Sequence[Tensor]] | None = None
        self._results: Sequence[Tensor] | None = None
        self._names: list[str] = []

    def _compile(self, graph: Any, inputs: Any, **told: Any) -> Callable[..., Sequence[Tensor]]:
        made = self._compiler(graph, inputs, **told)
        self._names = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
        self._made = made

        def call(*inputs: Tensor) -> Sequence[Tensor]:
            if self._results is None:
                self._results = made(*inputs)
                return self._results
            return made(*inputs)

        return call

    def function(
        self, inputs: int, results: Sequence[Tensor]
    ) -> Callable[..., Sequence[Tensor]] | None:
        """Return what was made of the function, if its first results are those of the graph."""
        made, computed, self._results = self._made, self._results, ()
        if made is None or computed is None or len(computed) != len(results):
            return None
        if self._names != [f"l_inputs_{n}_" for n in range(inputs)]:
            return None
        same = all(one is other for one, other in zip(computed, results, strict=True))
        return made if same else None


def _torch_compile(
    flat: Callable[..., list[Tensor]], name: str, backend: _Backend
) -> Callable[..., list[Tensor]]:
    """Return `flat` compiled for the tensors of its first call; no later call is looked at."""

    def entry(*inputs: Tensor) -> list[Tensor]:
        return traced(*inputs)

    mark = private.nonstrict_trace()
    traced = flat if mark is None else mark(flat)
    # Dynamo keeps what it compiled by the code object: each graph needs one of its own.
    code = entry.__code__.replace(co_name=f"{name}_{next(_NUMBERS)}")
    entry = FunctionType(code, globals(), name, None, entry.__closure__)
    return torch.compile(entry, fullgraph=True, dynamic=False, **backend.told)


def _backend(cpp_wrapper: bool, kernels: Kernels) -> dict[str, Any]:
    """Return what makes a graph quick, as arguments of `torch.compile`."""
    options = {
        "cpp_wrapper": cpp_wrapper,
        # Said because torch 2.11 leaves the number of threads out of its cache's keys.
        "cpp.threads": torch.get_num_threads(),
        **passes.options(kernels),
    }
    guards = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    backend = private.inductor(options)
    return {"backend": backend, "options": guards if callable(backend) else options | guards}


def _modes() -> Hashable:
    """Return what else a graph depends on: what PyTorch was told for the whole process."""
    return (
        torch.get_default_dtype(),
        private.default_device(),
        torch.get_num_threads(),
        torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"),
        torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
    )


def _require_tree(results: Tree) -> None:
    for path, leaf in tree.flatten_with_path(results):
        if not isinstance(leaf, _LEAVES):
            where = f"at {path!r} " if path else ""
            raise TypeError(
                f"a compiled function returns trees (dict, list, tuple, NamedTuple) of tensors and "
                f"constants; {where}it returned a {type(leaf).__name__}"
            )


@contextmanager
def _no_restart() -> Iterator[None]:
    """Have Dynamo not trace twice.

    It takes 0-d inputs for numbers that might be read, and begins anew when they were not.
    """
    name = "TENSORIFY_PYTHON_SCALARS"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
