"""All laws that apply to a step, in one call."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from torch import Tensor

from fnet import tree
from fnet.compiler import compile as compile_step
from fnet.data import Batch
from fnet.nn import Params
from fnet.step import GradFn, Step
from fnet.testing.compiled import (
    assert_compiled_agrees,
    assert_compiles_once,
    is_fnet_compiled,
    is_torch_compiled,
)
from fnet.testing.mapped import assert_accumulates, assert_vmap_agrees
from fnet.testing.purity import assert_pure
from fnet.testing.resume import assert_resumes
from fnet.testing.structure import assert_depends_on_key, assert_keeps_structure, returned
from fnet.testing.watch import copies
from fnet.tree import Tree


class Checked(NamedTuple):
    """The result of `check_step`: the laws that hold, and the reasons for skipping others."""

    held: tuple[str, ...]
    left_out: dict[str, str]


class _LeftOutError(Exception):
    """A law does not apply; the message says why."""


def check_step(
    step: Step,
    params: Params,
    opt_state: Tree,
    batches: Iterable[Batch],
    *,
    grad_fn: GradFn | None = None,
    micro_batches: int = 2,
    draws: bool | None = None,
    constants: Tree = (),
    compile: Callable[[Step], Step] | None = compile_step,
    show: Callable[[str], Any] = print,
) -> Checked:
    """Check a step against every law of this package that applies, and print which these were.

    Args:
        step: any step, compiled or not.
        params: the initial parameters. They are copied, so even an impure step cannot change them.
        opt_state: the initial state, copied as well.
        batches: at least one batch; two for the laws that need several steps. All are kept in
            memory.
        grad_fn: the gradient function of the step, for `assert_accumulates`.
        micro_batches: the number of micro-batches for `assert_accumulates`.
        draws: whether the step must draw from `batch.key` (True) or must not (False); None allows
            both.
        constants: tensors that the step reaches by name and that nobody writes to (`assert_pure`).
        compile: compiles the step for `assert_compiled_agrees`; None skips this law.
        show: called with each line of the report.

    Raises:
        AssertionError: at the end, with the messages of all laws that do not hold.
        ValueError: `batches` is empty.

    >>> import torch
    >>> def step(params, opt_state, batch):
    ...     return {"w": params["w"] - 0.5 * batch["x"]}, opt_state, {"count": batch["x"].sum()}
    >>> rows = [{"x": torch.ones(2)}, {"x": torch.zeros(2)}]
    >>> done = check_step(step, {"w": torch.ones(2)}, {}, rows, compile=None)
    pure: holds
    keeps structure: holds
    depends on key: left out: the batch has no key
    compiles once: holds
    compiled agrees: left out: compile=None
    vmap agrees: holds
    accumulates: left out: no grad_fn= was given
    resumes: holds
    """
    rows = list(batches)
    if not rows:
        raise ValueError("batches is empty: a step is checked with at least one batch")

    def state() -> tuple[Params, Tree]:
        return copies((params, opt_state))

    def depends_on_key() -> None:
        if not hasattr(rows[0], "key") and not (isinstance(rows[0], dict) and "key" in rows[0]):
            raise _LeftOutError("the batch has no key")
        try:
            assert_depends_on_key(step, *state(), copies(rows[0]))
        except AssertionError:
            if draws:
                raise
            if draws is None:
                raise _LeftOutError(
                    "the step draws nothing (draws=True makes that a failure)"
                ) from None
        else:
            if draws is False:
                raise AssertionError("the step depends on 'batch/key', which draws=False rules out")

    def compiled_agrees() -> None:
        if compile is None and not is_torch_compiled(step):
            raise _LeftOutError("compile=None")
        if is_fnet_compiled(step):
            raise _LeftOutError("the step is compiled, there is nothing to compare it with")
        try:
            assert_compiled_agrees(step, *state(), copies(rows[0]), compile=compile or compile_step)
        except Exception as error:
            if "No working C++ compiler" in str(error):
                raise _LeftOutError("there is no C++ compiler") from None
            raise

    def vmap_agrees() -> None:
        if is_torch_compiled(step) or is_fnet_compiled(step):
            raise _LeftOutError("the step is compiled: give the step itself")
        following, state_after, _ = returned(step, *state(), copies(rows[0]))
        leaves = tree.leaves((params, opt_state))
        if not all(isinstance(leaf, Tensor) for leaf in leaves):
            raise _LeftOutError("params or state have leaves that are not tensors")
        try:
            assert_vmap_agrees(step, [state(), (following, state_after)], copies(rows[-1]))
        except AssertionError as error:
            if error.__cause__ is None:
                raise
            # The step may be pure although vmap cannot run it: it uses autograd or Python control
            # flow.
            raise _LeftOutError(str(error).partition("\n")[0]) from error

    def accumulates() -> None:
        if grad_fn is None:
            raise _LeftOutError("no grad_fn= was given")
        _, stats, _ = grad_fn(params, rows[0])
        if not tree.equal(stats, params.stats):
            raise _LeftOutError("the network has running statistics, which need the whole batch")
        assert_accumulates(grad_fn, params, rows[0], micro_batches)

    def resumes() -> None:
        if len(rows) < 2:
            raise _LeftOutError("it needs two batches")
        assert_resumes(step, *state(), copies(rows))

    laws: dict[str, Callable[[], None]] = {
        "pure": lambda: assert_pure(step, *state(), copies(rows[0]), constants=constants),
        "keeps structure": lambda: assert_keeps_structure(step, *state(), copies(rows[0])),
        "depends on key": depends_on_key,
        "compiles once": lambda: assert_compiles_once(step, *state(), copies(rows)),
        "compiled agrees": compiled_agrees,
        "vmap agrees": vmap_agrees,
        "accumulates": accumulates,
        "resumes": resumes,
    }
    return _run(laws, show)


def _run(laws: dict[str, Callable[[], None]], show: Callable[[str], Any]) -> Checked:
    held: list[str] = []
    left_out: dict[str, str] = {}
    failed: list[str] = []
    for name, law in laws.items():
        try:
            law()
        except _LeftOutError as reason:
            left_out[name] = str(reason)
            show(f"{name}: left out: {reason}")
        except AssertionError as error:
            failed.append(f"{name}: {error}")
            show(f"{name}: FAILS: {error}")
        else:
            held.append(name)
            show(f"{name}: holds")
    if failed:
        raise AssertionError("\n".join(failed))
    return Checked(tuple(held), left_out)
