"""The law that a function is pure: it changes nothing, and depends on its arguments alone."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fnet import tree
from fnet.testing import clock, generators, perturb
from fnet.testing.aliases import first_alias
from fnet.testing.reach import reach
from fnet.testing.watch import Remembered, copied, first_change, first_other_bits, remember
from fnet.tree import Tree

_SEEDS = (20_011, 57_203)
_LATER = 86_400 * 399.0 + 12_345.678  # seconds: another year, day, hour, minute and second


def assert_pure(fn: Callable[..., Tree], *args: Any, constants: Tree = ()) -> None:
    """Raise an AssertionError unless `fn(*args)` is pure; the message names the leaf or variable.

    `fn` is called at least three times, with the same arguments, and must be deterministic on this
    device. A pure function

    * does not change its arguments: structure, bits, strides, and the `.grad` of leaves;
    * neither advances nor reads a global random generator of torch, numpy or Python;
    * does not change the global modes of torch (gradients on or off, default dtype, ...);
    * does not change the variables that it closes over, the globals that it uses, or their
      attributes and entries; nor do the functions that it calls by these names;
    * gives the same result again, also for other seeds of the global generators and at another
      time;
    * does not read a tensor or a writable array through these names: its values may change, so it
      must be an argument. Numbers, strings and functions are constants. So are `constants`;
    * returns no tensor that aliases an argument, unless it is that argument, and no tensor that a
      later call overwrites.

    The internal state of fnet and installed packages may change at the first call (a cache), but
    not at later ones.

    Args:
        fn: any function of trees of tensors, such as a step, `tx.update` or an augmentation.
        args: its arguments.
        constants: tensors that `fn` reaches by name and that nobody writes to, such as class
            weights or the weights of a teacher. Changes of them are detected all the same.

    >>> assert_pure(torch.add, torch.ones(2), torch.ones(2))
    >>> assert_pure(lambda x: x.add_(1), torch.ones(2))
    Traceback (most recent call last):
    AssertionError: <lambda> changes an argument: 'x': 2 of 2 values differ, most at [0]: 2.0 \
against 1.0 (after against before)
    """
    with generators.preserved():
        _Trial(fn, args).run(constants)


class _Trial:
    """The calls of one function with one set of arguments, and what is compared after each."""

    def __init__(self, fn: Callable[..., Tree], args: Sequence[Any]) -> None:
        self.fn = fn
        self.name = getattr(fn, "__qualname__", type(fn).__qualname__).rpartition("<locals>.")[2]
        self.names = _parameters(fn, len(args))
        self.args = args
        self.before = tree.map(_copied, self.named)
        self.autograd = _autograd(self.named)
        self.held: dict[str, Remembered] = remember(fn)
        self.own_only = True

    @property
    def named(self) -> dict[str, Any]:
        return dict(zip(self.names, self.args, strict=True))

    def run(self, constants: Tree) -> None:
        first = self.call()
        expected = tree.map(_copied, first)
        alias = first_alias(self.labelled(first), self.named)
        if alias is not None:
            self.fail(f"returns {alias}")
        # From here on, the internal state of packages must not change either.
        self.held, self.own_only = remember(self.fn), False
        again = self.call()
        if self.differs(again, expected):
            self.fail_on_repeat(again, expected)
        if self.differs(first, expected):
            self.fail(
                f"overwrites its first result when called again: {self.said(first, expected)}"
            )
        elsewhere = self.call(generators.generators(), _LATER)
        if self.differs(elsewhere, expected):
            self.fail_on_circumstances(elsewhere, expected)
        self.perturb(expected, constants)

    def perturb(self, expected: Tree, constants: Tree) -> None:
        def is_changed() -> bool:
            try:
                return self.differs(self.fn(*self.args), expected)
            except Exception:  # the function validates the values, so it reads them
                return True

        place = perturb.first_read(
            perturb.mutable_tensors(self.fn, constants, self.args), is_changed
        )
        if place is not None:
            self.fail(
                f"reads {place.name}, a tensor that is not an argument and may change: pass it as "
                "an argument, or list it in constants=... if nobody writes to it"
            )

    def call(self, reseeded: Sequence[generators.Generator] = (), later: float = 0.0) -> Tree:
        """Call the function once, and check everything that it must not change."""
        generators.seed_all(_SEEDS[0])
        for generator in reseeded:
            generator.seed(_SEEDS[1])
        states = [(generator, generator.get()) for generator in generators.generators()]
        modes = _modes()
        try:
            with clock.shifted(later, reach(self.fn).clocks if later else ()):
                result = self.fn(*self.args)
            after = _modes()
        finally:
            torch.set_grad_enabled(modes["whether gradients are on"])
            torch.set_default_dtype(modes["the default dtype"])
        self.compare_arguments()
        for generator, state in states:
            if not generators.same_state(generator.get(), state):
                self.fail(f"draws from {generator.name}: pass a key, and draw with fnet.random")
        for mode, value in modes.items():
            if after[mode] != value:
                self.fail(f"changes {mode}, from {value} to {after[mode]}")
        change = first_change(self.held, remember(self.fn), own_only=self.own_only)
        if change is not None:
            self.fail(f"changes a variable outside of itself: {change}")
        return result

    def compare_arguments(self) -> None:
        now = tree.map(_copied, self.named)
        difference = tree.first_difference(now, self.before)
        difference = difference or tree.first_layout_difference(now, self.before)
        difference = difference or first_other_bits(now, self.before)
        difference = difference or tree.first_difference(_autograd(self.named), self.autograd)
        if difference is not None:
            self.fail(f"changes an argument: {difference} (after against before)")

    def fail_on_circumstances(self, elsewhere: Tree, expected: Tree) -> None:
        for generator in generators.generators():
            other = self.call([generator])
            if self.differs(other, expected):
                self.fail(f"reads {generator.name}: {self.said(other, expected)}; pass a key")
        self.fail(f"depends on the time: {self.said(elsewhere, expected)}")

    def fail_on_repeat(self, again: Tree, expected: Tree) -> None:
        cause = ""
        if reach(self.fn).clocks:
            cause = ", and reads the time"
        self.fail(f"gives two results for the same arguments{cause}: {self.said(again, expected)}")

    def differs(self, result: Tree, expected: Tree) -> bool:
        return self.difference(result, expected) is not None

    def difference(self, result: Tree, expected: Tree) -> str | None:
        got, wanted = self.labelled(tree.map(_copied, result)), self.labelled(expected)
        return tree.first_difference(got, wanted) or tree.first_layout_difference(got, wanted)

    def said(self, result: Tree, expected: Tree) -> str:
        return str(self.difference(result, expected))

    def labelled(self, result: Tree) -> Tree:
        """Return the result as a dict: with the names of a step's results if it looks like one."""
        if type(result) is tuple and len(result) == len(self.args) == 3:
            return dict(zip(("params", "opt_state", "metrics"), result, strict=True))
        return {"result": result}

    def fail(self, what: str) -> None:
        raise AssertionError(f"{self.name} {what}")


def _parameters(fn: Callable[..., Any], count: int) -> list[str]:
    """Return the names of a call's positional arguments: from the signature, or numbers."""
    try:
        found = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        found = []
    names = [each.name for each in found if each.kind is not each.VAR_POSITIONAL]
    return names[:count] if len(names) >= count else [str(place) for place in range(count)]


def _copied(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return copied(leaf)
    if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biufc":
        return torch.from_numpy(leaf.copy())
    return leaf


def _autograd(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return `requires_grad` and `grad` of each leaf tensor, by path."""
    found: dict[str, Any] = {}
    for path, leaf in tree.flatten_with_path(arguments):
        if isinstance(leaf, Tensor) and leaf.is_leaf:
            found[f"{path}.requires_grad"] = leaf.requires_grad
            found[f"{path}.grad"] = "none" if leaf.grad is None else copied(leaf.grad)
    return found


def _modes() -> dict[str, Any]:
    return {
        "whether gradients are on": torch.is_grad_enabled(),
        "the default dtype": torch.get_default_dtype(),
        "the number of threads": torch.get_num_threads(),
        "whether algorithms are deterministic": torch.are_deterministic_algorithms_enabled(),
        "the precision of matrix products": torch.get_float32_matmul_precision(),
    }
