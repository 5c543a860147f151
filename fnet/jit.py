"""A function of trees of tensors as compiled graphs, in the manner of `jax.jit`.

The function runs once on tensors without data (`fnet.trace`), and Inductor compiles what it
computed. PyTorch's own reader of bytecode, Dynamo, takes no part in it: the Python of the function
may be any, its errors are its own, and both the first call and each later one take less time.
"""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor
from torch._C import _DisableAutocast, _is_any_autocast_enabled
from torch._C._functorch import peek_interpreter_stack
from torch._guards import TracingContext, tracing

from fnet import tree
from fnet.trace import Traced, is_compiling, trace
from fnet.tree import Tree


def jit(fn: Callable[..., Tree], *, cpp_wrapper: bool = False) -> Callable[..., Tree]:
    """Return `fn` as one compiled graph for each structure and layout of its arguments.

    Arguments and results are trees of tensors; what else is in the arguments must be hashable, and
    there is a graph for each value of it. Tensors that `fn` closes over are arguments as well, all
    else that it closes over is taken for constant. What `fn` raises while it is traced is raised as
    it is. Called by a function that is being compiled, the result is `fn`. With `cpp_wrapper` C++
    calls the kernels instead of Python.

    Results take no part in autograd: derivatives are taken inside of `fn` (`torch.func.grad`).

    Raises:
        RuntimeError: by the result, called within `grad` or `vmap`.
        TypeError: by the result, for an argument that is neither a tensor nor hashable.
    """
    graphs: dict[Hashable, Callable[[list[Tensor]], Tree]] = {}

    def call(*args: Tree, **kwargs: Tree) -> Tree:
        if is_compiling():
            return fn(*args, **kwargs)
        if peek_interpreter_stack() is not None:
            raise RuntimeError(
                "a compiled function is called within grad or vmap: compile what takes them, "
                "compile(vmap(step)) instead of vmap(compile(step))"
            )
        tensors, signature = tree.signature((args, kwargs))
        key = signature, _modes()
        try:
            graph = graphs.get(key)
        except TypeError as error:
            raise TypeError(
                f"a compiled function takes trees of tensors and of hashable constants: {error}"
            ) from None
        if graph is None:
            graph = graphs[key] = _graph(fn, (args, kwargs), cpp_wrapper)
        return graph(tensors)

    return call


def _modes() -> Hashable:
    """Return what else a graph depends on: what PyTorch was told for the whole process."""
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_num_threads(),
        torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"),
        torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
        torch.are_deterministic_algorithms_enabled(),
    )


def _graph(
    fn: Callable[..., Tree], like: Tree, cpp_wrapper: bool
) -> Callable[[list[Tensor]], Tree]:
    """Return `fn` of the tensors in arguments that else are `like` these, as a compiled graph."""
    tensors, arguments = tree.split(like)
    # What stands for arguments and results must not keep them.
    joined: list[Callable[[Sequence[Tensor]], Tree]] = []

    def flat(*tensors: Tensor) -> list[Tensor]:
        args, kwargs = arguments(tensors)
        results, join = tree.split(fn(*args, **kwargs))
        joined.append(join)
        return results

    traced = trace(flat, tensors)
    (join,) = joined
    compiled = _inductor(traced, cpp_wrapper)
    closed_over = traced.closed_over
    return lambda tensors: join(compiled(*tensors, *closed_over))


def _inductor(traced: Traced, cpp_wrapper: bool) -> Callable[..., Sequence[Tensor]]:
    """Return the graph compiled by Inductor, or as it was compiled before, from its cache."""
    from torch._inductor import compile

    # Said because torch 2.11 knows what it compiled by all options, but not by how many threads.
    options = {"cpp_wrapper": cpp_wrapper, "cpp.threads": torch.get_num_threads()}
    # The cache is left alone where no context says what the inputs' shapes belong to.
    with tracing(TracingContext(traced.mode)), _DisableAutocast():
        compiled = compile(traced.graph, [*traced.inputs], options=options)
    return _without_autocast(compiled) if _is_any_autocast_enabled() else compiled


def _without_autocast(compiled: Callable[..., Sequence[Tensor]]) -> Callable[..., Sequence[Tensor]]:
    # What is cast stands in the graph: where the function itself turned it off, nothing is.
    def call(*tensors: Tensor) -> Sequence[Tensor]:
        with _DisableAutocast():
            return compiled(*tensors)

    return call
