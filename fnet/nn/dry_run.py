"""The dry run of a network, without data: it finds the layer that does not fit or is not pure.

It runs the code of `Model.apply` on the meta device, in its own thread, because the transforms and
modes of the caller (`grad`, `vmap`, fake tensors of a compiler) are thread-local.
"""

import copy
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from fnet.nn import generators
from fnet.nn.clocks import first_clock
from fnet.nn.draws import KeyedDraws, Where
from fnet.nn.dropout import layer_keys
from fnet.nn.errors import ModelError
from fnet.nn.forward import Collecting, run
from fnet.nn.leaves import Leaves
from fnet.nn.misfit import misfit
from fnet.nn.model import Params
from fnet.nn.monitor import Monitor
from fnet.nn.structure import called
from fnet.nn.watch import changed, snapshot

T = TypeVar("T")


class Facts(NamedTuple):
    """The results of a dry run.

    Attributes:
        drew: the names of the layers whose forward pass draws random numbers.
        of_batch: of these and of the keyed dropout layers, those with draws that belong to no
            sample.
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
    is repeated with real tensors on the CPU, on the network that `real()` returns.

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
    clock = first_clock(module.module)
    if clock is not None:
        raise ModelError(
            f"{clock} in its forward pass, which differs from call to call, so the model would not "
            "be a pure function: draw with torch.rand, which fnet keys, or compute it outside"
        )
    monitor = Monitor(module.module, subject.params)
    draws = KeyedDraws(
        torch.zeros(len(images), 2, dtype=torch.int64, device=images.device), Where()
    )
    draws.where.running = monitor.running
    keys = layer_keys(draws.key, subject.rates) if train else None
    before = snapshot(module.module)
    old_buffers = {name: subject.params.stats[name] for name in subject.leaves.buffers}

    results: list[tuple[Any, dict[str, Tensor]]] = []

    def forward(trainable: dict[str, Tensor]) -> Any:
        params = Params(trainable, subject.params.stats)
        # A copy: torch.func refuses in-place changes of tensors that are not its arguments.
        own = monitor.copied(images)
        results.append(run(module, subject.leaves, subject.rates, params, own, keys))
        return _tensors(results[-1][0]) or own

    with monitor.hooks(), monitor, draws:
        try:
            if train and subject.params.trainable:
                # As a step does, to find layers that torch.func cannot differentiate.
                torch.func.vjp(forward, subject.params.trainable)
            else:
                with torch.no_grad():
                    forward(subject.params.trainable)
        except ModelError as error:
            raise ModelError(_located(monitor, str(error))) from None
        except Exception as error:
            if not explain:
                raise
            names = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, KeyError)
            if not isinstance(error, (*names, AttributeError, NotImplementedError)):
                raise
            layer = monitor.entered[-1] if monitor.entered else ("", 0, module.module, ())
            raise ModelError(misfit(layer[0], layer[2], layer[3], images, error)) from error
    monitor.after()
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
        tuple(draws.drew),
        (*monitor.of_batch, *draws.of_batch),
        monitor.wrote_images,
        draws.unseen,
        output,
    )


def _located(monitor: Monitor, message: str) -> str:
    if message.startswith(("layer ", "attribute ")) or not monitor.entered:
        return message
    name, _, layer, _ = monitor.entered[-1]
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
