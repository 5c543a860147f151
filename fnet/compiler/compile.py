"""Compilation of pure functions of trees of tensors: one `torch.compile` graph per signature.

The signature of a call is compared here, in microseconds, instead of by Dynamo's guards, which are
dropped. Dynamo calls the function on fake tensors (`nonstrict_trace`) instead of tracing its
bytecode. So the function may contain any Python code, and a compiled step starts sooner.
"""

import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor

from fnet import private, tree
from fnet.compiler import options
from fnet.compiler.aliasing import extent, may_be_lazy, overlaps, require_plain
from fnet.compiler.donation import overwrite
from fnet.compiler.graph import ClosesOverError, Graph
from fnet.compiler.passes import Kernels
from fnet.compiler.refusals import TraceError
from fnet.tree import Tree
from fnet.tree.arguments import signature, split_tensors

F = TypeVar("F", bound=Callable[..., Any])

# Compiling changes global state of the process, so only one thread may compile at a time.
_COMPILING = threading.RLock()
# Each attempt may find closed-over tensors that are only used because of those found before.
_MOST_ATTEMPTS = 4


def compile(
    fn: F, *, donate: bool = False, cpp_wrapper: bool = False, kernels: Kernels = "auto"
) -> F:
    """Return `fn` (a step, an evaluation step, any pure function of trees) compiled.

    The returned function takes the same arguments. As `jax.jit`: at the first call, and at the
    first call with another structure, shape, dtype, stride, device or aliasing of the arguments,
    `fn` runs a few times on fake tensors and is traced to a graph. Later calls only run the graph;
    new values of tensors never cause recompilation. Arguments that are not tensors must be
    hashable, and there is one graph for each value of them. Tensors that `fn` closes over are
    inputs of the graph: their current values are used at each call. Everything else that it closes
    over is a constant. An exception of `fn` is raised unchanged.

    Other effects of `fn` (`print`, `torch.manual_seed`, a counter of its calls) happen during
    tracing only, more than once. The first of its runs is checked for what `Raises` lists, so `fn`
    must do the same in each. Two constants are the same if they have one type and are equal, with
    0.0 and -0.0 apart, also in tuples and frozen dataclasses; in objects of other classes `==`
    decides.

    Compile outermost: `compile(vmap(step))`. Take derivatives inside `fn`: results do not require
    gradients. Within a function that is being compiled, a call of the compiled function calls `fn`.
    Several threads may call the compiled function. On the CPU it needs a C++ compiler
    (`fnet.run.runtime.missing_compiler` checks this). `torch.compiler.set_stance` and `TORCH_LOGS`
    work as for any `torch.compile`, but to Dynamo each graph is a function of its own:
    `TORCH_LOGS=recompiles` shows nothing, `TORCH_LOGS=dynamo` shows each graph.

    Args:
        fn: the function to compile.
        donate: for a step only: the caller must not use `params` and `opt_state` any more; the step
            updates these tensors in place and returns them. Then there is one copy of the state in
            memory instead of two. As `jax.jit(donate_argnums=(0, 1))`.
        cpp_wrapper: call the kernels from C++, not from Python. Steps of a few milliseconds become
            faster, but compilation takes longer. As Inductor's option of this name.
        kernels: "auto" to replace operations by fnet's kernels if these are faster; "library" to
            leave the graph unchanged.

    Raises:
        RuntimeError: by the compiled function, if it is called within `grad`, `vmap` or a dual
            level of forward-mode AD.
        TraceError: by the compiled function, if `fn` reads a value (a branch, `.item()`,
            `.numpy()`), draws from a `torch.Generator` (also the global one), calls `backward()`
            on a tensor that it closes over, or keeps a reference to an argument or to a tensor
            that it computes.
        TypeError: by the compiled function, if an argument is neither a tensor nor hashable, a
            tensor is sparse or a lazy conjugate, or the result is not a tree of tensors and
            constants.
    """
    if kernels not in ("auto", "library"):
        raise ValueError(f'kernels must be "auto" or "library", got {kernels!r}')
    if not donate:
        return _compiled(fn, cpp_wrapper, kernels)  # type: ignore[return-value]

    def update(params: Tree, opt_state: Tree, batch: Tree) -> Tree:
        new_params, new_state, sums = fn(params, opt_state, batch)
        return overwrite((params, opt_state), (new_params, new_state), sums)

    compiled = _compiled(update, cpp_wrapper, kernels)

    @_named(fn)
    def step(params: Tree, opt_state: Tree, batch: Tree) -> tuple[Tree, Tree, Tree]:
        return params, opt_state, compiled(params, opt_state, batch)

    return step  # type: ignore[return-value]


def _compiled(fn: Callable[..., Tree], cpp_wrapper: bool, kernels: Kernels) -> Callable[..., Tree]:
    if private.nonstrict_trace() is None:
        given = options.compile_options(cpp_wrapper, kernels)
        given["options"].pop("guard_filter_fn")
        return torch.compile(fn, fullgraph=True, dynamic=False, **given)
    signatures: dict[Hashable, _Signature] = {}

    @_named(fn)
    def call(*args: Tree, **kwargs: Tree) -> Tree:
        if private.is_tracing():
            return fn(*args, **kwargs)
        if private.is_transformed():
            raise RuntimeError(
                "a compiled function is called within grad, vmap or forward-mode AD: apply the "
                "transform first and compile its result, compile(vmap(step)) instead of "
                "vmap(compile(step))"
            )
        try:
            tensors, static = signature((args, kwargs))
        except RuntimeError:  # a sparse tensor has no strides
            for x in tree.leaves((args, kwargs)):
                require_plain(x)
            raise
        key = static, _modes()
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


# As `functools.wraps`, but `__module__` stays the compiler's, where the wrapper is defined, and
# `__dict__` is not updated: within `torch.compile`, Dynamo does not trace that (2.11, Python 3.12).
_named = functools.partial(
    functools.wraps, assigned=("__name__", "__qualname__", "__doc__"), updated=()
)


class _Signature:
    """The graphs of one signature: one for each aliasing pattern of the tensors."""

    def __init__(self, fn: Callable[..., Tree], like: Tree, options: tuple[bool, Kernels]) -> None:
        tensors, self._join = split_tensors(like)
        for x in tensors:
            require_plain(x)
        self._fn, self._options = fn, options
        self._may_be_lazy = [place for place, x in enumerate(tensors) if may_be_lazy(x)]
        self._extents = [extent(x) for x in tensors]
        self._requires_grad = any(x.requires_grad for x in tensors)
        self._closed_over: list[Tensor] = []
        self._graphs: dict[Hashable, Graph] = {}

    def __call__(self, tensors: list[Tensor]) -> Tree:
        for place in self._may_be_lazy:
            require_plain(tensors[place])
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
            "the function creates a tensor from data outside of PyTorch at each run: create it "
            "once outside of the function, and close over it or pass it as an argument"
        )


def _matmul_precision() -> Hashable:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # the program sets the precision of single backends
        backends = torch.backends.mkldnn, torch.backends.cuda
        return tuple(backend.matmul.fp32_precision for backend in backends)


def _modes() -> Hashable:
    """Return the global settings of PyTorch that a graph depends on."""
    return (
        torch.get_default_dtype(),
        private.default_device(),
        torch.get_num_threads(),
        torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"),
        torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
        torch.get_deterministic_debug_mode(),
        _matmul_precision(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
    )
