"""A torch function mode in which random functions draw from a key, not from a global generator.

It is entered around a network whose `forward` calls random functions (`F.dropout`, attention's
`dropout_p`, an LSTM's dropout, `torch.rand_like`). Every draw has its own key, folded from the
layer's position and the number of the draw within the layer.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.torch_version import TorchVersion

from fnet import random
from fnet.nn.dropout import rows
from fnet.nn.errors import ModelError

# An offset beyond the positions of dropout layers, which are folded into the same key.
_DRAW_OFFSET = 2**31
# Dynamo calls these without the mode (torch 2.11 to 2.15), and older versions also those that take
# no tensor (torch 2.11; seen by 2.14).
_FACTORIES = {torch.rand, torch.randn, torch.randint, torch.randperm}
_UNSEEN_BY_DYNAMO = {torch.rand_like, torch.randn_like, torch.randint_like, torch.normal} | (
    _FACTORIES if torch.__version__ < TorchVersion("2.14") else set()
)


class Where:
    """The running layer of a network: a stack of names and positions, last the current layer.

    Hooks of the layers that draw update it.
    """

    def __init__(self) -> None:
        self.running: list[tuple[str, int]] = []


class KeyedDraws(TorchFunctionMode):
    """The mode. If the first dimension of a draw is the batch size, each sample's key is used.

    Args:
        key: one `[2]`, or one for each sample `[N, 2]`.
        where: the running layer.

    Attributes:
        drew: the names of the layers that drew, in order.
        of_batch: those of them with a draw that belongs to no sample. It uses the first sample's
            key, so its numbers depend on how a batch is split.
        unseen: `layer 'NAME': FUNCTION` of the first draw that Dynamo would call without this mode;
            "" if there is none.
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
        """Call the keyed replacement of a random function, or the function itself."""
        kwargs = kwargs or {}
        instead = keyed_functions().get(func)
        if instead is None:
            return func(*args, **kwargs)
        if kwargs.get("generator") is not None:
            raise ModelError(
                f"{name_of(func)} draws from its own generator and changes the generator's state: "
                "leave generator= out, and fnet draws from the key of the step"
            )
        if func in _UNSEEN_BY_DYNAMO and not self.unseen:
            self.unseen = f"layer {self.where.running[-1][0]!r}: {name_of(func)}"
        return instead(self, func, *args, **kwargs)

    def next_key(self) -> Tensor:
        """Return the key (or keys) of the next draw of the running layer."""
        name, place = self.where.running[-1]
        count = self.calls.get(place, 0)
        self.calls[place] = count + 1
        if name not in self.drew:
            self.drew.append(name)
        return random.fold_in(random.fold_in(self.key, _DRAW_OFFSET + place), count)

    def rows(self, shape: Any) -> tuple[Tensor, tuple[int, ...]]:
        """Return the key or keys of the next draw of a shape, and the shape that each key draws."""
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
    """Return the keyed replacement of each random function: `(draws, func, *args, **kwargs)`."""
    if not _FUNCTIONS:
        from fnet.nn import functional_attention, functional_draws, functional_dropout

        for module in (functional_draws, functional_dropout, functional_attention):
            _FUNCTIONS.update(module.FUNCTIONS)
    return _FUNCTIONS


def name_of(func: Any) -> str:
    """Return the name by which users know a function of PyTorch."""
    return getattr(func, "__name__", None) or torch.overrides.resolve_name(func) or repr(func)
