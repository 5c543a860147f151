"""The dry run of a network, without data: it finds the layer that does not fit or is not pure.

It runs the code of `Model.apply` on the meta device, in its own thread, because the transforms and
modes of the caller (`grad`, `vmap`, fake tensors of a compiler) are thread-local.
"""

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from fnet import private
from fnet.nn import generators
from fnet.nn.draws import KeyedDraws, Where
from fnet.nn.errors import ModelError
from fnet.nn.forward import Collecting, layer_keys, run
from fnet.nn.leaves import Leaves
from fnet.nn.misfit import misfit
from fnet.nn.model import Params
from fnet.nn.structure import called
from fnet.nn.watch import changed, snapshot

T = TypeVar("T")
Entered = list[tuple[str, int, nn.Module, tuple[Any, ...]]]


class Facts(NamedTuple):
    """The results of a dry run.

    Attributes:
        drew: the names of the layers whose forward pass draws random numbers.
        of_batch: those of them with draws that belong to no sample.
        writes_images: whether the network writes to its input images in place.
        unseen: the first draw that could not be keyed under Dynamo, or "".
        output: the network's output, without data.
    """

    drew: tuple[str, ...]
    of_batch: tuple[str, ...]
    writes_images: bool
    unseen: str
    output: Any


class Subject(NamedTuple):
    """The module to run and its parameters, on the meta device or on the CPU."""

    module: Collecting
    leaves: Leaves
    rates: list[str]
    params: Params

    def copied(self) -> "Subject":
        """Return a subject with a copy of the module, which may be changed."""
        return self._replace(module=copy.deepcopy(self.module))


def dry_run(
    subject: Callable[[], Subject],
    real: Callable[[], Subject],
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
) -> Facts:
    """Run a network on images of a shape, in its current mode, in a separate thread.

    In that thread, no transform or mode of the caller is active; both networks are built there.

    If the run fails on the meta device (control flow on a value, a tensor created on the CPU), it
    is repeated on `real()`.

    Raises:
        ModelError: a layer does not fit or is not pure.
    """
    return _in_thread(lambda: _anywhere(subject(), real, shape, dtype))


def _anywhere(
    subject: Subject, real: Callable[[], Subject], shape: tuple[int, ...], dtype: torch.dtype
) -> Facts:
    with generators.isolated():
        try:
            return _run(subject.copied(), torch.empty(shape, dtype=dtype, device="meta"))
        except ModelError:
            raise
        except Exception:
            return _run(real(), torch.zeros(shape, dtype=dtype), explain=True)


def _in_thread(fn: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(fn())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _run(subject: Subject, images: Tensor, explain: bool = False) -> Facts:
    module = subject.module
    train = module.module.training
    watched = _Watched(subject)
    draws = KeyedDraws(
        torch.zeros(len(images), 2, dtype=torch.int64, device=images.device), Where()
    )
    draws.where.running = watched.running
    keys = layer_keys(draws.key, subject.rates) if train else None
    before = snapshot(module.module)
    old_buffers = {name: subject.params.stats[name] for name in subject.leaves.buffers}

    results: list[tuple[Any, dict[str, Tensor]]] = []

    def forward(trainable: dict[str, Tensor]) -> Any:
        params = Params(trainable, subject.params.stats)
        # A copy: torch.func refuses in-place changes of tensors that are not its arguments.
        own = watched.copied(images)
        results.append(run(module, subject.leaves, subject.rates, params, own, keys))
        return _tensors(results[-1][0]) or own

    with watched.hooks(), watched, draws:
        try:
            if train and subject.params.trainable:
                # As a step does, to find layers that torch.func cannot differentiate.
                torch.func.vjp(forward, subject.params.trainable)
            else:
                with torch.no_grad():
                    forward(subject.params.trainable)
        except ModelError as error:
            raise ModelError(_located(watched, str(error))) from None
        except Exception as error:
            if not explain:
                raise
            names = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, KeyError)
            if not isinstance(error, (*names, AttributeError, NotImplementedError)):
                raise
            layer = watched.entered[-1] if watched.entered else ("", 0, module.module, ())
            raise ModelError(misfit(layer[0], layer[2], layer[3], images, error)) from error
    watched.after()
    ((output, stats),) = results
    difference = changed(before, snapshot(module.module))
    if difference is not None:
        raise ModelError(
            f"{difference} changes in a forward pass, so the model would not be a pure function: "
            "keep it in a registered buffer (register_buffer) and change it in training mode only; "
            "the new value is then returned in stats"
        )
    if train:
        _require_same_layout(old_buffers, stats, module.module)
    return Facts(
        tuple(draws.drew), tuple(draws.of_batch), watched.wrote_images, draws.unseen, output
    )


def _located(watched: "_Watched", message: str) -> str:
    if message.startswith(("layer ", "attribute ")) or not watched.entered:
        return message
    name, _, layer, _ = watched.entered[-1]
    return f"{called(name, layer)}: {message}"


def _tensors(output: Any) -> list[Tensor]:
    """Return the tensors of an output, which `torch.func` differentiates."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output
    return [x for part in parts for x in _tensors(part)] if _is_container(output) else []


def _is_container(output: Any) -> bool:
    return isinstance(output, dict | list | tuple)


def _require_same_layout(
    before: dict[str, Tensor], after: dict[str, Tensor], module: nn.Module
) -> None:
    for name, old in before.items():
        new = after[name]
        if new.shape != old.shape:
            owner, _, leaf = name.rpartition(".")
            raise ModelError(
                f"{called(owner, module.get_submodule(owner))}: its forward pass gives the buffer "
                f"{leaf!r} the shape {tuple(new.shape)} instead of {tuple(old.shape)}: the "
                "statistics of a step keep their shapes"
            )


class _Watched(private.dispatch_mode()):  # type: ignore[misc]
    """A dispatch mode that refuses operations that draw globally or write to weights."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.module = subject.module.module
        self.training = self.module.training
        self.entered: Entered = []
        self.running: list[tuple[str, int]] = [("", 0)]
        self.wrote_images = False
        self.images: StorageWeakRef | None = None
        self.leaves = {
            StorageWeakRef(leaf.untyped_storage()).cdata: name
            for name, leaf in {**subject.params.trainable, **subject.params.stats}.items()
        }
        self.states = generators.states(seed_only=True)
        self.buffers: dict[str, Any] = {}

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
        for value in private.written(func, args):
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
                if len(self.entered) == 1:
                    self.buffers = self._registered()

            def leave(layer: nn.Module, *_: Any) -> None:
                self._require_generators()
                if len(self.entered) == 1:
                    self._require_registered()
                self.entered.pop()
                self.running.pop()

            handles.append(layer.register_forward_pre_hook(enter, prepend=True))
            handles.append(layer.register_forward_hook(leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

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

    def _registered(self) -> dict[str, Any]:
        """Return parameters, and in evaluation mode buffers, by name."""
        parameters = dict(self.module.named_parameters(remove_duplicate=False))
        return parameters | ({} if self.training else dict(self.module.named_buffers()))

    def _require_registered(self) -> None:
        now = self._registered()
        for name, leaf in self.buffers.items():
            if now.get(name) is not leaf:
                kind = "buffer" if name in dict(self.module.named_buffers()) else "parameter"
                mode = " in evaluation mode, which returns no buffers" if kind == "buffer" else ""
                raise ModelError(
                    f"its forward pass assigns the {kind} {name!r}{mode}: assign buffers only, and "
                    "only `if self.training`"
                )
