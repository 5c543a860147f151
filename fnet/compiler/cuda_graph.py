"""CUDA graphs: a step whose kernels are launched together. The step stays pure.

What it gains is not known: no run on a GPU has been timed with and without it. The figure waits for
a GPU; until then it is off by default (`--cuda-graph`).
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from fnet import private, tree
from fnet.tree import Tree
from fnet.tree.arguments import signature, split_tensors

F = TypeVar("F", bound=Callable[..., Any])

# The first run compiles, in the others the libraries choose their kernels. Neither is possible
# during capture.
_WARM_UPS = 3


class _Graph(NamedTuple):
    """A captured graph: `replay` launches it, and computes `outputs` from `inputs`."""

    inputs: list[Tensor]
    replay: Callable[[], None]
    outputs: list[Tensor]
    join: Callable[[Sequence[Tensor]], Tree]


def cuda_graph(fn: F) -> F:
    """Return `fn`, a compiled step of CUDA tensors, launched as one CUDA graph.

    For steps of many small kernels whose launch takes longer than their computation. Arguments are
    copied into the graph's static buffers, and results out of them, so nothing is mutated. The
    graph is captured at the first call, and again if the structure, shapes, dtypes or strides of
    the arguments change. To capture, `fn` runs a few times; it must not synchronize with the
    device. Use it outermost: `cuda_graph(compile(step))`.

    Raises:
        ValueError: at a call, if an argument is not on a CUDA device.
    """
    graphs: dict[Hashable, _Graph] = {}

    def call(*args: Tree) -> Tree:
        tensors, static = signature(args)
        graph = graphs.get(static)
        if graph is None:
            graph = graphs[static] = _capture_call(fn, args)
        _copy(graph.inputs, tensors)
        graph.replay()
        results = [torch.empty_like(output) for output in graph.outputs]
        _copy(results, graph.outputs)
        return graph.join(results)

    return call  # type: ignore[return-value]


def _capture_call(fn: Callable[..., Tree], args: tuple[Tree, ...]) -> _Graph:
    args = tree.map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, args)
    inputs, _ = split_tensors(args)
    outputs: list[Tensor] = []
    joins: list[Callable[[Sequence[Tensor]], Tree]] = []

    def run() -> None:
        outputs[:], join = split_tensors(fn(*args))
        joins[:] = [join]

    replay = _capture(run, {tensor.device for tensor in inputs})
    return _Graph(inputs, replay, outputs, joins[0])


def _capture(run: Callable[[], None], devices: set[torch.device]) -> Callable[[], None]:
    """Return a function that replays the kernels of `run`, on the tensors of its captured call."""
    others = [str(device) for device in devices if device.type != "cuda"]
    if others:
        raise ValueError(
            f"a CUDA graph needs CUDA tensors; an argument is on {others[0]}: leave cuda_graph out"
        )
    with torch.cuda.device(devices.pop()):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
    return graph.replay


def _copy(into: Sequence[Tensor], of: Sequence[Tensor]) -> None:
    """Copy tensors; all tensors of one dtype need only a few launches."""
    for dtype in {tensor.dtype for tensor in into}:
        pairs = [(a, b) for a, b in zip(into, of, strict=True) if a.dtype == dtype]
        private.copy_all([a for a, _ in pairs], [b for _, b in pairs])
