"""A mode in which what a `forward` draws comes from a key instead of a global generator.

Entered around a network that draws by functions (`F.dropout`, attention's `dropout_p`, an LSTM's
dropout, `torch.rand_like`). Every draw has a key of its own, folded by the layer and by the order
of the layer's draws.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fnet import random
from fnet.nn.dropout import rows
from fnet.nn.errors import ModelError

# Beyond the places of dropout layers, which fold the same key.
_FORWARDS = 2**31
# Dynamo calls them past the mode (torch 2.14).
_UNSEEN_BY_DYNAMO = frozenset({torch.rand_like, torch.randn_like, torch.randint_like})


class Where:
    """Which layer of a network runs, by name and by its place among the layers.

    Hooks tell it, of the layers that draw.
    """

    def __init__(self) -> None:
        self.running: list[tuple[str, int]] = []


class KeyedDraws(TorchFunctionMode):
    """The mode. Draws of which the first dimension is the samples' use each sample's key.

    Args:
        key: one `[2]`, or one for each sample `[N, 2]`.
        where: tells the layer.

    Attributes:
        drew: the names of the layers that drew, in order.
        of_batch: of these, the ones with a draw that belongs to no sample: its key is the first
            sample's, so that the numbers depend on how a batch is cut.
        unseen: the first draw that a user's own `torch.compile` would not key: layer and function.
    """

    def __init__(self, key: Tensor, where: Where) -> None:
        super().__init__()
        self.key = key
        self.where = where
        self.calls: dict[int, int] = {}
        self.drew: list[str] = []
        self.of_batch: list[str] = []
        self.unseen = ""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call what stands for a function that draws, or the function itself."""
        kwargs = kwargs or {}
        instead = keyed_functions().get(func)
        if instead is None:
            return func(*args, **kwargs)
        if kwargs.get("generator") is not None:
            raise ModelError(
                f"{name_of(func)} draws from a generator of its own, which it changes: leave "
                "generator= out, and fnet draws from the key of the step"
            )
        if func in _UNSEEN_BY_DYNAMO and not self.unseen:
            self.unseen = f"layer {self.where.running[-1][0]!r}: {name_of(func)}"
        return instead(self, func, *args, **kwargs)

    def next_key(self) -> Tensor:
        """Return the key (or keys) of the next draw of the layer that runs."""
        name, place = self.where.running[-1]
        count = self.calls.get(place, 0)
        self.calls[place] = count + 1
        if name not in self.drew:
            self.drew.append(name)
        return random.fold_in(random.fold_in(self.key, _FORWARDS + place), count)

    def rows(self, shape: Any) -> tuple[Tensor, tuple[int, ...]]:
        """Return the next key or keys for numbers of a shape, and what shape each of them draws."""
        key, each = rows(self.next_key(), shape)
        name, _ = self.where.running[-1]
        if key.dim() != self.key.dim() and name not in self.of_batch:
            self.of_batch.append(name)
        return key, each

    def uniform(self, shape: Any) -> Tensor:
        """Return float32 numbers in [0, 1)."""
        key, each = self.rows(shape)
        return random.uniform(key, each)

    def normal(self, shape: Any) -> Tensor:
        """Return standard normal numbers, float32."""
        key, each = self.rows(shape)
        return random.normal(key, each)


Instead: TypeAlias = Callable[..., Any]
_FUNCTIONS: dict[Any, Instead] = {}


def keyed_functions() -> dict[Any, Instead]:
    """Return what takes the place of each function that draws: `(draws, func, *args, **kwargs)`."""
    if not _FUNCTIONS:
        from fnet.nn import keyed_attention, keyed_dropout, keyed_numbers

        for module in (keyed_numbers, keyed_dropout, keyed_attention):
            _FUNCTIONS.update(module.FUNCTIONS)
    return _FUNCTIONS


def name_of(func: Any) -> str:
    """Return how a user calls a function of PyTorch."""
    return getattr(func, "__name__", None) or torch.overrides.resolve_name(func) or repr(func)
