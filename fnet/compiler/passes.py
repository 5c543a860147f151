"""A graph pass for Inductor that replaces operations by our kernels, and its cache key."""

import hashlib
import inspect
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.resources import files
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from fnet import private

Kernels = Literal["auto", "library"]
RULES: Mapping[Any, Callable[[Node], Callable[..., Any] | None]] = {}
# The folder of the kernels can be deleted. Then "auto" is "library".
if getattr(find_spec("fnet.compiler.kernels"), "has_location", False):
    from fnet.compiler import kernels as own

    RULES = own.RULES
_ATEN = torch.ops.aten
_OpOverload = type(_ATEN.mm.default)
# Operations that address memory by explicit strides: the strides of their inputs must not change.
_BY_STRIDES = (
    _ATEN.as_strided.default,
    _ATEN.as_strided_.default,
    _ATEN.as_strided_copy.default,
    _ATEN.as_strided_scatter.default,
)


def options(kernels: Kernels) -> dict[str, Any]:
    """Return the options of `torch.compile` that select these kernels.

    Args:
        kernels: "auto" for our kernels if they are faster (on the CPU); "library" for PyTorch's.
    """
    if kernels == "library" or not RULES:
        return {}
    base = private.custom_graph_pass()
    if base is None:
        return {}
    return {"joint_custom_pre_pass": type("Exchange", (_Exchange, base), {})(kernels)}


def tracing_modes(kernels: Kernels) -> AbstractContextManager[Any]:
    """Return the context in which to trace a function for these kernels."""
    return own.tracing_modes(kernels) if RULES else nullcontext()


def exchange(graph: Graph) -> None:
    """Replace operations of an ATen graph by our kernels, by `kernels.RULES`, in place."""
    _Exchanged(graph).run()
    graph.eliminate_dead_code()
    graph.lint()


class _Exchange:
    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels

    def __call__(self, graph: Graph) -> None:
        exchange(graph)

    def uuid(self) -> str:
        """Return a hash of everything besides the graph that the result of the pass depends on."""
        key = hashlib.sha256(inspect.getsource(sys.modules[__name__]).encode())
        for name, source in sources():
            key.update(name.encode() + source)
        cpu = torch.backends.cpu.get_cpu_capability()
        key.update(f"{cpu} {torch.get_num_threads()} {self.kernels}".encode())
        return key.hexdigest()


def sources() -> list[tuple[str, bytes]]:
    """Return the names and bytes of the kernels' source files."""
    folder = files("fnet.compiler.kernels")
    found = [file for file in folder.iterdir() if file.name.endswith((".py", ".cpp", ".h"))]
    return sorted((file.name, file.read_bytes()) for file in found)


class _Exchanged:
    """A graph during replacement; `original` has the fake tensors before a change of strides."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.original: dict[Node, Tensor] = {}
        self.keeps_strides = any(_depends_on_strides(node) for node in graph.nodes)

    def run(self) -> None:
        """Replace each operation for which a rule has a kernel, in order."""
        if not any(node.target in RULES for node in self.graph.nodes):
            return
        for node in list(self.graph.nodes):
            if node.op == "output":
                self._restore_strides(node)
            elif node.op == "call_function":
                kernel = RULES[node.target](node) if self._has_rule(node) else None
                if kernel is not None:
                    self._replace(node, kernel)
                elif any(argument in self.original for argument in node.all_input_nodes):
                    self._infer(node)

    def _has_rule(self, node: Node) -> bool:
        if node.target not in RULES:
            return False
        values = [value for n in (node, *node.all_input_nodes) for value in _tensors(n)]
        return all(isinstance(size, int) for value in values for size in value.shape)

    def _replace(self, node: Node, kernel: Callable[..., Any]) -> None:
        """Replace a node by the traced operations of `kernel`."""
        inputs = node.all_input_nodes

        def compute(*tensors: Tensor) -> Any:
            values = dict(zip(inputs, tensors, strict=True))
            return kernel(*map_arg(node.args, values.__getitem__), **node.kwargs)

        with _fake(node):
            traced = private.make_fx(compute, *map(_value, inputs)).graph
        placeholders = traced.find_nodes(op="placeholder")
        known = dict(zip(placeholders, inputs, strict=True))
        with self.graph.inserting_before(node):
            results: Any = self.graph.graph_copy(traced, known)
        for new in known.values():
            if new not in inputs:
                new.meta = {**_origin(node), **new.meta}
        if isinstance(results, Node):
            self._replace_uses(node, results)
            return
        for user in list(node.users):
            result = results[user.args[1]]
            if result is not None:  # None: this gradient was not requested and is not used
                self._replace_uses(user, result)

    def _replace_uses(self, old: Node, new: Node) -> None:
        was, now = old.meta["val"], new.meta["val"]
        assert was.shape == now.shape, (old, was, now)
        if _have_other_strides(was, now):
            if self.keeps_strides:
                new = self._laid_out(new, was, old)
            else:
                self.original[new] = was
        old.replace_all_uses_with(new)

    def _infer(self, node: Node) -> None:
        """Recompute the fake tensor of a node whose arguments have other strides than before."""
        if isinstance(node.target, _OpOverload) and private.is_mutable(node.target):
            return
        was = _tensors(node)
        with _fake(node):
            args, kwargs = map_arg((node.args, node.kwargs), _value)
            try:
                value = node.target(*args, **kwargs)  # type: ignore[operator]
            except (RuntimeError, ValueError):
                # A view that is only possible with the original strides.
                if node.target is not _ATEN.view.default:
                    raise
                node.target = _ATEN.reshape.default
                value = node.target(*args, **kwargs)
        node.meta = {**node.meta, "val": value}
        node.meta.pop("tensor_meta", None)
        if any(_have_other_strides(a, b) for a, b in zip(was, _tensors(node), strict=True)):
            self.original[node] = was[0]

    def _restore_strides(self, output: Node) -> None:
        for node in output.all_input_nodes:
            was = self.original.get(node)
            if was is not None and _is_dense(was):
                output.replace_input_with(node, self._laid_out(node, was, output))

    def _laid_out(self, node: Node, like: Tensor, where: Node) -> Node:
        """Insert before `where` a copy of `node` with the strides of `like`, and return it."""
        order = sorted(range(like.ndim), key=like.stride, reverse=True)
        back = sorted(range(like.ndim), key=order.__getitem__)
        contiguous: dict[str, Any] = {"memory_format": torch.contiguous_format}
        for target, args, kwargs in (
            (_ATEN.permute.default, (order,), {}),
            (_ATEN.clone.default, (), contiguous),
            (_ATEN.permute.default, (back,), {}),
        ):
            with _fake(node):
                value = target(_value(node), *args, **kwargs)
            with self.graph.inserting_before(where):
                copy = self.graph.call_function(target, (node, *args), kwargs)
            copy.meta = {**_origin(node), "val": value}
            node = copy
        return node


def _depends_on_strides(node: Node) -> bool:
    """Return whether the values that a node computes may depend on the strides of its arguments."""
    if node.op != "call_function" or node.target is operator.getitem:
        return False
    if not isinstance(node.target, _OpOverload):
        return True
    if node.target in _BY_STRIDES:
        return any(value.ndim != 1 for n in node.all_input_nodes for value in _tensors(n))
    return node.target.namespace not in ("aten", "prims", "fnet", "inductor_prims")


def _have_other_strides(a: Tensor, b: Tensor) -> bool:
    """Return whether the strides of two tensors of one shape differ, ignoring size-1 dimensions."""
    strides = zip(a.shape, a.stride(), b.stride(), strict=True)
    return any(size != 1 and first != second for size, first, second in strides)


def _is_dense(x: Tensor) -> bool:
    """Return whether `x` is dense: no gaps and no overlaps in its range of memory."""
    strides = sorted((stride, size) for stride, size in zip(x.stride(), x.shape, strict=True))
    reached = 1
    for stride, size in strides:
        if size != 1 and stride != reached:
            return False
        reached *= size
    return True


def _value(node: Node) -> Any:
    return node.meta["val"]


def _tensors(node: Node) -> list[Tensor]:
    value = node.meta.get("val")
    values = value if isinstance(value, (tuple, list)) else [value]
    return [value for value in values if isinstance(value, Tensor)]


def _origin(node: Node) -> dict[str, Any]:
    """Return the metadata that a replacement inherits from a node, such as its stack trace."""
    kept = ("stack_trace", "nn_module_stack", "fwd_nn_module_stack", "seq_nr", "partitioner_tag")
    return {name: node.meta[name] for name in kept if name in node.meta}


@contextmanager
def _fake(node: Node) -> Iterator[None]:
    """Enter the fake tensor mode of a node's tensors, without autocast and autograd."""
    mode = next(t.fake_mode for n in (node, *node.all_input_nodes) for t in _tensors(n))  # type: ignore[attr-defined]
    with mode, torch.no_grad(), torch.autocast("cpu", enabled=False):
        yield
