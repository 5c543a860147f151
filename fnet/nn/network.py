"""The network behind a `Model`: two skeletons, for training and evaluation, and dry-run results."""

import copy
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fnet.nn.draws import KeyedDraws, Where
from fnet.nn.dropout import layer_keys
from fnet.nn.dry_run import Facts, Subject, dry_run
from fnet.nn.errors import ModelError
from fnet.nn.forward import Collecting, run
from fnet.nn.init import params_of
from fnet.nn.leaves import Leaves, leaves_of
from fnet.nn.model import Params
from fnet.nn.skeleton import dropout_layers, fresh, skeleton, with_stand_ins
from fnet.nn.structure import called
from fnet.nn.watch import caches, restore

Output = Callable[[Any], Tensor]


class Learned(NamedTuple):
    """The dry-run results that a forward pass needs: layers that draw, in-place image writes."""

    drew: tuple[str, ...]
    writes_images: bool
    unseen: str


class Network:
    """The module that `make()` builds, without tensors, in both modes; calls pass the tensors.

    Args:
        make: builds the module.
        output: picks the logits from an output that is not a tensor.

    Attributes:
        shapes: the shapes of the trainable parameters, by name.
    """

    def __init__(self, make: Callable[[], nn.Module], output: Output | None = None) -> None:
        module = fresh(make)
        self.make = make
        self.output = output
        self._first = {
            id(leaf): weakref.ref(leaf) for leaf in (*module.parameters(), *module.buffers())
        }
        self.leaves: Leaves = leaves_of(module)
        training = skeleton(module).train()
        self.shapes = {name: module.get_parameter(name).shape for name in self.leaves.trainable}
        self.rates = dropout_layers(training)
        buffers = self.leaves.buffers
        self.modules = {
            True: Collecting(training, buffers).train(),
            False: Collecting(copy.deepcopy(training), buffers).eval(),
        }
        self._caches = {train: caches(module) for train, module in self.modules.items()}
        self.where = Where()
        self._facts: dict[tuple[Any, ...], Facts] = {}
        self._hooked: set[tuple[bool, str]] = set()

    def facts(self, shape: tuple[int, ...], dtype: torch.dtype, *, train: bool) -> Facts:
        """Return the results of a dry run on images of this shape; they are cached.

        Raises:
            ModelError: a layer does not fit or is not pure.
        """
        # The weights of a dry run are float32; a caller with float64 images has such weights too.
        dtype = torch.float32 if dtype == torch.float64 else dtype
        key = (shape, dtype, train)
        if key not in self._facts:
            meta = self.modules[train]
            facts = dry_run(lambda: self._subject(meta), lambda: self._real(train), shape, dtype)
            facts = facts._replace(output=self.logits(facts.output, train))
            for name in facts.drew:
                self._hook(name, train)
            self._facts[key] = facts
        return self._facts[key]

    def learn(self, shape: tuple[int, ...], dtype: torch.dtype, train: bool) -> Learned:
        """Return the dry-run results that a forward pass on such images needs.

        Raises:
            ModelError: a layer does not fit or is not pure, or the dtype is not floating-point.
        """
        if not dtype.is_floating_point:
            raise ModelError(
                f"a network takes images of floating-point numbers, got {dtype}: preprocess them "
                "(fnet.data.Normalize), or convert them with .float()"
            )
        facts = self.facts(tuple([int(size) for size in shape]), dtype, train=train)
        return Learned(facts.drew, facts.writes_images, facts.unseen)

    def require_new(self, module: nn.Module) -> None:
        """Check that a module shares no tensors with the module that this network was made from.

        Raises:
            ModelError: `make` returned layers that it had returned before.
        """
        for name, leaf in (*module.named_parameters(), *module.named_buffers()):
            first = self._first.get(id(leaf))
            if leaf.is_meta or (first is not None and first() is leaf):
                raise ModelError(
                    f"{name!r} belongs to a layer that is not new: build the layers inside the "
                    "function given to from_module, so that each call makes new ones, with weights "
                    "(not on the meta device)"
                )

    def __call__(
        self, params: Params, images: Tensor, key: Tensor | None, train: bool, learned: Learned
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits and statistics."""
        drops = train and bool(self.rates)
        if key is None and (drops or learned.drew):
            self._ask_for_key(learned, train)
        keys = None
        if train:
            keys = {} if key is None else layer_keys(key, self.rates)
        module = self.modules[train]
        if learned.writes_images:
            images = images.clone()
        if learned.drew:
            assert key is not None
            self.where.running = [("", 0)]
            with KeyedDraws(key, self.where):
                output, stats = run(module, self.leaves, self.rates, params, images, keys)
        else:
            output, stats = run(module, self.leaves, self.rates, params, images, keys)
        if self._caches[train]:
            restore(self._caches[train])
        return self.logits(output, train), stats

    def logits(self, output: Any, train: bool) -> Tensor:
        """Return the logits in the module's output.

        Raises:
            ModelError: the output is not a tensor, and `output=` does not pick one.
        """
        if not isinstance(output, Tensor) and self.output is not None:
            output = self.output(output)
        if not isinstance(output, Tensor):
            raise ModelError(
                f"in {'training' if train else 'evaluation'} mode this network returns a "
                f"{type(output).__name__}, not logits [N, classes]: pick them with output=, as in "
                "from_module(make, output=lambda out: out[0]), or build it without its other "
                "outputs (aux_logits=False)"
            )
        return output

    def _subject(self, module: Collecting) -> Subject:
        return Subject(module, self.leaves, self.rates, params_of(module.module, self.leaves))

    def _real(self, train: bool) -> Subject:
        """Return the network with tensors, on the CPU."""
        module = with_stand_ins(fresh(self.make)).train(train)
        return self._subject(Collecting(module, self.leaves.buffers).train(train))

    def _hook(self, name: str, train: bool) -> None:
        """Add hooks to a layer that draws, which record when it runs."""
        if (train, name) in self._hooked:
            return
        self._hooked.add((train, name))
        module = self.modules[train].module
        layers = [layer_name for layer_name, _ in module.named_modules()]
        entry = (name, layers.index(name))
        where = self.where

        def enter(layer: nn.Module, inputs: Any) -> None:
            where.running.append(entry)

        def leave(layer: nn.Module, inputs: Any, output: Any) -> None:
            where.running.pop()

        layer = module.get_submodule(name)
        layer.register_forward_pre_hook(enter, prepend=True)
        layer.register_forward_hook(leave)

    @staticmethod
    def refuse_dynamo(draw: str) -> None:
        """Refuse a draw that cannot be keyed within a user's own `torch.compile`.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            f"{draw} cannot be keyed within torch.compile, because Dynamo calls it without fnet's "
            "function mode: compile with fnet.compiler.compile, or draw in place "
            "(torch.empty_like(x).normal_())"
        )

    def _ask_for_key(self, learned: Learned, train: bool) -> None:
        if train:
            layers = ", ".join([*self.rates, *learned.drew])
            raise ValueError(
                f"training mode needs randomness for the dropout layers {layers}: "
                "pass apply(..., key=...)"
            )
        name = learned.drew[0]
        raise ModelError(
            f"{called(name, self.modules[False].module.get_submodule(name))} draws random numbers "
            "in evaluation mode too: let it do so only `if self.training`, or pass "
            "apply(..., key=...)"
        )
