"""The laws of a compiled step: it is compiled once, and returns what the eager step returns."""

import itertools
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor

from fnet import optim, private, tree
from fnet.compiler import compile as compile_step
from fnet.data import Batch
from fnet.nn import Params
from fnet.step import Step
from fnet.testing.rounding import ATOL, RTOL, Rounding
from fnet.testing.structure import labelled, returned
from fnet.testing.watch import copies
from fnet.tree import Tree

_CONSTANT = "a graph treats a Python number as a constant; make it a 0-d tensor"
_ONCE_MORE = "with other hyper-parameters"
_numbers = itertools.count()


def assert_compiles_once(
    step: Step, params: Params, opt_state: Tree, batches: Iterable[Batch]
) -> None:
    """Raise an AssertionError if a step is compiled again after its first call (recompilation).

    The steps run one after the other. Then the last one runs again with each hyper-parameter
    (`set_hyper`) and each Python float in params and state halved: values that change between steps
    must not be constants of the graph. The error names the leaf whose shape, strides, dtype or
    constant is new, or the guard that failed.

    A step returned by `torch.compile` runs unchanged. Any other step is compiled with
    `torch.compile(step, fullgraph=True, dynamic=False)`. If Dynamo cannot trace it, only the
    signatures of its arguments are compared, as `fnet.compiler.compile` does.

    >>> import torch
    >>> def step(params, opt_state, batch):
    ...     return {"w": params["w"] * opt_state["lr"]}, opt_state, {}
    >>> assert_compiles_once(step, {"w": torch.ones(2)}, {"lr": torch.tensor(0.1)}, [None] * 2)
    >>> assert_compiles_once(step, {"w": torch.ones(2)}, {"lr": 0.1}, [None] * 2)
    Traceback (most recent call last):
    AssertionError: the step is compiled again with other hyper-parameters: 'opt_state/lr': 0.1, \
then 0.05: a graph treats a Python number as a constant; make it a 0-d tensor
    """
    compiled = step if is_torch_compiled(step) else _by_dynamo(step)
    first = None
    for when, batch in _and_once_more(batches):
        if when == _ONCE_MORE:
            params, opt_state = _halved(params, opt_state)
        named = {"params": params, "opt_state": opt_state, "batch": batch}
        if first is None:
            first = named
            try:
                result = returned(compiled, *copies((params, opt_state, batch)))
            except RuntimeError:
                if compiled is step:
                    raise
                compiled = step  # Dynamo cannot trace it, or the step itself raises
                result = returned(compiled, *copies((params, opt_state, batch)))
        else:
            if not is_torch_compiled(step):
                _require_alike(when, first, named)
            try:
                with torch.compiler.set_stance("fail_on_recompile"):
                    result = returned(compiled, *copies((params, opt_state, batch)))
            except RuntimeError as error:
                if "fail_on_recompile" not in str(error):
                    raise
                _require_alike(when, first, named)
                raise AssertionError(f"the step is compiled again {when}: {error}") from error
        params, opt_state, _ = result


def assert_compiled_agrees(
    step: Step,
    params: Params,
    opt_state: Tree,
    batch: Batch,
    *,
    compile: Callable[[Step], Step] = compile_step,
    rtol: float = RTOL,
    atol: float = ATOL,
    rounding: bool = True,
) -> None:
    """Raise an AssertionError unless the compiled step returns what the eager step returns.

    A step returned by `torch.compile` is compared with itself, run eagerly; any other step is
    compared with `compile(step)`. Strides must agree as well.

    Args:
        step: the step, compiled by `torch.compile` or not.
        params: the step's argument.
        opt_state: the step's argument.
        batch: the step's argument.
        compile: compiles the step.
        rtol: relative tolerance, as in `tree.assert_close`.
        atol: absolute tolerance, as in `tree.assert_close`.
        rounding: increase the tolerance of each leaf by the effect of rounding on it, which is
            measured (`fnet.testing.rounding`).
    """
    compiled = step if is_torch_compiled(step) else compile(step)
    args = params, opt_state, batch

    def eager(*args: Any) -> Tree:
        stance: AbstractContextManager[Any] = nullcontext()
        if compiled is step:
            stance = torch.compiler.set_stance("force_eager")
        with stance:
            return labelled(returned(step, *copies(args)))

    expected = eager(*args)
    got = labelled(returned(compiled, *copies(args)))
    trials = Rounding(eager, rounding, expected, *args)
    difference = trials.first_difference(got, expected, rtol, atol)
    difference = difference or tree.first_layout_difference(got, expected)
    if difference is not None:
        raise AssertionError(
            f"the compiled step differs from the step: {difference} (compiled against eager)"
        )


def is_torch_compiled(step: Step) -> bool:
    """Return whether `torch.compile` made a step."""
    return private.is_torch_compiled(step)


def is_fnet_compiled(step: Step) -> bool:
    """Return whether fnet's `compile` made a step."""
    code = getattr(step, "__code__", None)
    if code is None:
        return False
    module = step.__globals__["__name__"]
    return module.startswith("fnet.compiler")


def _and_once_more(batches: Iterable[Batch]) -> Iterator[tuple[str, Any]]:
    """Yield each batch with a phrase for the call ("at call 1"), then the last batch again."""
    place, batch = 0, None
    for place, batch in enumerate(batches, start=1):
        yield f"at call {place}", batch
    if not place:
        raise ValueError("batches is empty: recompilation is checked with at least one batch")
    yield _ONCE_MORE, batch


def _require_alike(when: str, first: Tree, now: Tree) -> None:
    difference = _first_difference(first, now)
    if difference is not None:
        raise AssertionError(f"the step is compiled again {when}: {difference}")


def _halved(params: Params, opt_state: Tree) -> tuple[Params, Tree]:
    for name, value in optim.hypers(opt_state).items():
        with suppress(ValueError):  # the value of a schedule
            opt_state = optim.set_hyper(opt_state, name, 0.5 * value)
    params, opt_state = tree.map(
        lambda leaf: 0.5 * leaf if type(leaf) is float else leaf, (params, opt_state)
    )
    return params, opt_state


def _by_dynamo(step: Step) -> Step:
    """Return the step compiled in a new code object: Dynamo counts compilations by code object."""

    def call(params: Params, opt_state: Tree, batch: Batch) -> Any:
        return step(params, opt_state, batch)

    code = call.__code__.replace(co_name=f"call_{next(_numbers)}")
    own = types.FunctionType(code, call.__globals__, code.co_name, None, call.__closure__)
    return torch.compile(own, fullgraph=True, dynamic=False, backend="eager")


def _first_difference(first: Tree, now: Tree) -> str | None:
    """Return the first difference of arguments that causes recompilation, or None."""
    difference = tree.first_layout_difference(first, now)
    if difference is not None:
        return f"{difference} (first call against now)"
    pairs: list[tuple[str, Any, Any]] = []
    tree.map_with_path(lambda path, x, y: pairs.append((path, x, y)), first, now)
    for path, x, y in pairs:
        if isinstance(x, Tensor):
            if x.requires_grad != y.requires_grad:
                return f"{path!r}: requires_grad {x.requires_grad}, then {y.requires_grad}"
        elif x != y:
            reason = f": {_CONSTANT}" if isinstance(x, int | float) else ""
            return f"{path!r}: {x}, then {y}{reason}"
    return None
