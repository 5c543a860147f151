"""The tensors that a function closes over, found while it runs, and others put in their place."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake
from torch.utils._python_dispatch import TorchDispatchMode


class ClosedOver(TorchDispatchMode):
    """While a function runs on tensors without data: what stands for tensors that have data.

    It sees the operations below all transforms (`grad`, `vmap`), where tensors are wrapped no more.

    Args:
        found: the tensors with data that are known; those met besides are appended.
        given: what is taken instead of the first of them.
    """

    supports_higher_order_operators = True

    def __init__(self, found: list[Tensor], given: Sequence[Tensor]) -> None:
        super().__init__()
        self._found, self._given = found, given

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        # What `torch.tensor` makes of numbers is a constant.
        if func is not torch.ops.aten.lift_fresh.default:
            args, kwargs = self.instead_of(args), self.instead_of(kwargs)
        return func(*args, **kwargs or {})

    def instead_of(self, value: Any) -> Any:
        """Return the value, or list, tuple or dict of values, with what stands for its tensors."""
        if isinstance(value, Tensor):
            return value if is_fake(value) else self._instead_of(value)
        kind = type(value)
        if kind is list or kind is tuple:
            return kind([self.instead_of(part) for part in value])
        if kind is dict:
            return {name: self.instead_of(part) for name, part in value.items()}
        return value

    def _instead_of(self, tensor: Tensor) -> Tensor:
        for place, known in enumerate(self._found):
            if known is tensor:
                return self._given[place] if place < len(self._given) else tensor
        self._found.append(tensor)
        return tensor
