"""A pure function of trees of tensors as one graph of `torch.compile`, for each signature.

What a call is known by (its signature) is compared here, in microseconds, so Dynamo's guards are
dropped; and Dynamo calls the function on fake tensors (`nonstrict_trace`) instead of reading its
bytecode. So the Python of the function may be any, and a compiled step starts sooner.
"""

import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor

from fnet import private, tree
from fnet.compiler.aliasing import extent, overlaps
from fnet.compiler.backend import told
from fnet.compiler.graph import ClosesOverError, Graph
from fnet.compiler.passes import Kernels
from fnet.compiler.trace import TraceError
from fnet.tree import Tree
from fnet.tree.arguments import signature, split

F = TypeVar("F", bound=Callable[..., Any])

# Compiling changes the state of the process, so one thread does it at a time.
_COMPILING = threading.RLock()
# A function may close over a tensor that it only uses because of another one.
_MOST_ATTEMPTS = 4


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
        options = told(cpp_wrapper, kernels)
        options["options"].pop("guard_filter_fn")
        return torch.compile(fn, fullgraph=True, dynamic=False, **options)
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
        self._graphs: dict[Hashable, Graph] = {}

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
                    graph = Graph(self._fn, self._join, self._closed_over, self._options)
                    self._graphs[key] = graph
                try:
                    return graph.first([*tensors, *(x.detach() for x in self._closed_over)])
                except ClosesOverError as error:
                    del self._graphs[key]
                    self._closed_over = [*self._closed_over, *error.tensors]
                except BaseException:
                    del self._graphs[key]
                    raise
        raise TraceError(
            "the function makes a tensor of data outside of PyTorch anew at each run: make it "
            "before, and close over it or hand it in"
        )


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
