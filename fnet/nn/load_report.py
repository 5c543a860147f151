"""The report of a partial load: which weights of a `state_dict` match a model, and which do not."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

# Prefixes that DataParallel, DistributedDataParallel and torch.compile add to every name.
_PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class LoadReport:
    """The result of loading a `state_dict`; each list is sorted.

    Attributes:
        matched: names of the model whose values were loaded.
        missing: names of the model that the `state_dict` lacks; these weights kept their values.
        left_over: names in the `state_dict`, without the prefixes of wrappers, that the model does
            not have.
        other_shape: names that both have, but with different shapes: the shape in the `state_dict`
            and the model's. These weights kept their values.
        hint: if nothing matched, where in the mapping the weights are, else "".

    >>> import torch
    >>> own = {"conv.weight": torch.zeros(4, 3), "fc.weight": torch.zeros(10, 4)}
    >>> given = {"conv.weight": torch.ones(4, 3), "fc.weight": torch.ones(1000, 4)}
    >>> print(compare_weights(given, own))
    1 of 2 weights loaded
      with another shape: fc.weight (1000, 4), the model's (10, 4)
    """

    matched: list[str]
    missing: list[str]
    left_over: list[str]
    other_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    hint: str = ""

    def __str__(self) -> str:
        own = len(self.matched) + len(self.missing) + len(self.other_shape)
        lines = [f"{len(self.matched)} of {own} weights loaded"]
        if self.missing:
            lines.append(f"  missing: {', '.join(self.missing)}")
        if self.left_over:
            lines.append(f"  left over: {', '.join(self.left_over)}")
        for name, (given, shape) in self.other_shape.items():
            lines.append(f"  with another shape: {name} {given}, the model's {shape}")
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)


def compare_weights(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> LoadReport:
    """Return which of the given weights match the model's own, by name and shape."""
    both = sorted(given.keys() & own.keys())
    other = [name for name in both if given[name].shape != own[name].shape]
    return LoadReport(
        matched=[name for name in both if name not in other],
        missing=sorted(own.keys() - given.keys()),
        left_over=sorted(given.keys() - own.keys()),
        other_shape={name: (tuple(given[name].shape), tuple(own[name].shape)) for name in other},
        hint="" if both else nested(given),
    )


def nested(given: Mapping[str, object]) -> str:
    """Return which entry of a checkpoint to give instead, "" if none is a mapping of tensors.

    >>> import torch
    >>> nested({"epoch": 3, "model": {"fc.weight": torch.zeros(1)}})
    "it is a checkpoint that holds weights: give checkpoint['model']"
    """
    for name, value in given.items():
        if isinstance(value, Mapping) and any(isinstance(leaf, Tensor) for leaf in value.values()):
            return f"it is a checkpoint that holds weights: give checkpoint[{name!r}]"
    return ""


def without_prefixes(state_dict: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Return the weights without the prefixes of wrappers, such as `module.`.

    A prefix is kept if names of the model have it, or if the name without it exists as well.

    >>> import torch
    >>> list(without_prefixes({"module.a": torch.ones(1), "b": torch.ones(1)}, {}))
    ['a', 'b']
    """
    prefixes = [p for p in _PREFIXES if not any(name.startswith(p) for name in own)]
    weights = {}
    for name, leaf in state_dict.items():
        short = name
        while prefix := next((p for p in prefixes if short.startswith(p)), ""):
            short = short.removeprefix(prefix)
        weights[name if short in state_dict else short] = leaf
    return weights
