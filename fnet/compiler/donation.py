"""Donation: a step's new state is written into the tensors of the old one."""

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from fnet import tree
from fnet.opaque import operation
from fnet.tree import Tree


def overwrite(state: Tree, new: Tree, sums: Tree) -> Tree:
    """Copy the new state into the tensors of the old one; return `sums`.

    Results that alias the old state are copied first.
    """
    # If Dynamo traces bytecode, aliasing is unknown: copy everything.
    everything = torch.compiler.is_dynamo_compiling()
    overwritten = set() if everything else set(map(_memory, tree.leaves(state)))

    def saved(x: Any) -> Any:
        if isinstance(x, Tensor) and (everything or _memory(x) in overwritten):
            return _copy(x.detach())
        return x

    new = tree.map(lambda old, new: new if new is old else saved(new), state, new)
    sums = tree.map(saved, sums)
    tree.map(Tensor.copy_, state, new)
    return sums


def _memory(x: Tensor) -> Hashable:
    """Return a key that is equal for tensors that share a storage, also for fake tensors."""
    return StorageWeakRef(x.untyped_storage())


# Inductor removes `clone` even if its input is overwritten before the result is used.
_copy = operation("copy", "(Tensor x) -> Tensor", fake=torch.clone, kernel=torch.clone)
