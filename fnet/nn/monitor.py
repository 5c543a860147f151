"""A dispatch mode and hooks that refuse what makes a forward pass impure, by the layer's name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from fnet import private
from fnet.nn import generators
from fnet.nn.dropout import KeyedDropout, rows
from fnet.nn.errors import ModelError
from fnet.nn.model import Params, leaf_name

Entered: TypeAlias = list[tuple[str, int, nn.Module, tuple[Any, ...]]]


class Monitor(private.dispatch_mode()):  # type: ignore[misc]
    """A dispatch mode that refuses operations that draw globally or write to weights."""

    def __init__(self, module: nn.Module, params: Params) -> None:
        super().__init__()
        self.module = module
        self.training = self.module.training
        self.entered: Entered = []
        self.running: list[tuple[str, int]] = [("", 0)]
        self.wrote_images = False
        self.images: StorageWeakRef | None = None
        self.leaves = {
            StorageWeakRef(leaf.untyped_storage()).cdata: name
            for name, leaf in {**params.trainable, **params.stats}.items()
        }
        self.states = generators.states(seed_only=True)
        self.buffers: dict[str, Any] = {}
        self.names = _names(self.module)
        self.modes = _modes()
        self.of_batch: list[str] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # With True, PyTorch would import Dynamo, which takes seconds; nothing is compiled here.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise ModelError(
                f"{func.overloadpacket.__name__} draws from the global random generator, so the "
                "model would not be a pure function, and fnet has no keyed form of it; use a layer "
                "or function that it can key (nn.Dropout, F.dropout, torch.rand, torch.randn, ...)"
            )
        for value in private.written(func, args, kwargs or {}):
            self._written(value)
        result = func(*args, **(kwargs or {}))
        if self.images is None and func is torch.ops.aten.clone.default:
            self.images = StorageWeakRef(result.untyped_storage())
        return result

    def copied(self, images: Tensor) -> Tensor:
        """Return a copy of the images; writes to it are recorded."""
        self.images = None
        return images.clone()

    def _written(self, value: Any) -> None:
        for tensor in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(tensor, Tensor):
                continue
            storage = StorageWeakRef(tensor.untyped_storage()).cdata
            if self.images is not None and storage == self.images.cdata:
                self.wrote_images = True
            elif storage in self.leaves:
                name = self.leaves[storage]
                kind = "the buffer" if name in dict(self.module.named_buffers()) else "the weight"
                mode = "" if self.training else " in evaluation mode"
                raise ModelError(
                    f"its forward pass writes into {kind} {name!r}{mode}, so the model would not "
                    "be a pure function: a forward pass may change buffers only, and only in "
                    "training mode; to constrain a weight, use torch.nn.utils.parametrize or the "
                    "optimizer"
                )

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Record which layer is running, within this context."""
        handles = []
        for place, (name, layer) in enumerate(self.module.named_modules()):

            def enter(
                layer: nn.Module, inputs: tuple[Any, ...], name: str = name, place: int = place
            ) -> None:
                self._require_generators()
                self.entered.append((name, place, layer, inputs))
                self.running.append((name, place))
                if isinstance(layer, KeyedDropout) and layer.training:
                    self._note_rows(name, layer, inputs[0])
                if len(self.entered) == 1:
                    self.buffers, self.modes = self._registered(), _modes()

            def leave(layer: nn.Module, *_: Any) -> None:
                self._require_generators()
                if len(self.entered) == 1:
                    self._require_registered()
                    self._require_modes()
                self.entered.pop()
                self.running.pop()

            handles.append(layer.register_forward_pre_hook(enter, prepend=True))
            handles.append(layer.register_forward_hook(leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _note_rows(self, name: str, layer: KeyedDropout, x: Tensor) -> None:
        key, _ = rows(layer.key, layer.drawn_shape(x))
        if key.dim() != layer.key.dim() and name not in self.of_batch:
            self.of_batch.append(name)

    def after(self) -> None:
        """Check the generators once more, after the last layer."""
        self._require_generators()

    def _require_generators(self) -> None:
        states = generators.states(seed_only=True)
        for name, before, now in zip(generators.NAMES, self.states, states, strict=True):
            if before != now:
                raise ModelError(
                    f"its forward pass draws from the global generator of {name}, so the model "
                    "would not be a pure function: draw with torch.rand or F.dropout, which fnet "
                    "makes draw from the key"
                )

    def _require_modes(self) -> None:
        for name, now in _modes().items():
            if now != self.modes[name]:
                raise ModelError(
                    f"its forward pass changes PyTorch's {name} for all that follows, so the model "
                    "would not be a pure function: use a context (with torch.no_grad(): ...)"
                )

    def _registered(self) -> dict[str, Any]:
        """Return parameters, and in evaluation mode buffers, by name."""
        parameters = dict(self.module.named_parameters(remove_duplicate=False))
        if self.training:
            return parameters
        # A layer of dropout draws, and changes its key, where the forward pass changes its mode.
        return parameters | {
            leaf_name(name, leaf): buffer
            for name, layer in self.module.named_modules()
            if not isinstance(layer, KeyedDropout)
            for leaf, buffer in layer.named_buffers(recurse=False)
        }

    def _require_registered(self) -> None:
        now = self._registered()
        added = [name for name in _names(self.module) if name not in self.names]
        if added:
            raise ModelError(
                f"its forward pass makes the buffer or parameter {added[0]!r}, so the model would "
                "not be a pure function: register it in __init__, with its shape"
            )
        for name, leaf in self.buffers.items():
            if now.get(name) is not leaf:
                kind = "buffer" if name in dict(self.module.named_buffers()) else "parameter"
                mode = " in evaluation mode, which returns no buffers" if kind == "buffer" else ""
                raise ModelError(
                    f"its forward pass assigns the {kind} {name!r}{mode}: assign buffers only, and "
                    "only `if self.training`"
                )


def _names(module: nn.Module) -> set[str]:
    named = (module.named_parameters, module.named_buffers)
    return {name for each in named for name, _ in each(remove_duplicate=False)}


def _modes() -> dict[str, Any]:
    return {"grad mode": torch.is_grad_enabled(), "default dtype": torch.get_default_dtype()}
