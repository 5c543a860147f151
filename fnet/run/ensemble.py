"""Several runs as one classifier, which averages their probabilities. One run is a special case."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from fnet.compiler import compile
from fnet.data import Dataset
from fnet.evaluation import EVAL_BATCH, Forward, all_logits, make_forward
from fnet.run.config import ConfigError
from fnet.run.opened import Run, listed


@dataclass(frozen=True)
class Member:
    """A run, and the dtype of its forward pass."""

    run: Run
    dtype: torch.dtype

    def forward(self, *, flip: bool = False, compiled: bool = False) -> Forward:
        """Return the forward pass; see `fnet.evaluation.make_forward`."""
        forward = make_forward(
            self.run.model, preprocess=self.run.preprocess, dtype=self.dtype, flip=flip
        )
        return compile(forward) if compiled else forward


@dataclass(frozen=True)
class Ensemble:
    """Runs with the same classes and images of the same shape.

    Raises:
        ConfigError: the classes or the shapes of their images differ.
    """

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        for member in self.members[1:]:
            for what, of in (("classes", "classes"), ("images of shape", "input_shape")):
                own, other = getattr(self.first, of), getattr(member.run, of)
                if own != other:
                    raise ConfigError(
                        f"{what} of {self.first.path} are {listed(own)}, and those of "
                        f"{member.run.path} are {listed(other)}: only runs with the same can be "
                        "averaged"
                    )

    @property
    def first(self) -> Run:
        """The first run."""
        return self.members[0].run

    @property
    def paths(self) -> list[Path]:
        """The run directories."""
        return [member.run.path for member in self.members]

    @cached_property
    def _forwards(self) -> list[Forward]:
        return [member.forward() for member in self.members]

    def probabilities(self, image: Tensor) -> Tensor:
        """Return the averaged probabilities of one image, float32 `[classes]`.

        An image is a batch of its own, so its probabilities do not depend on other images.

        Args:
            image: uint8 `[C, H, W]`, with the runs' `input_shape`, on their device.
        """
        with torch.no_grad():
            each = [
                forward(member.run.params, image[None])[0].to(torch.float32).softmax(-1)
                for member, forward in zip(self.members, self._forwards, strict=True)
            ]
        return each[0] if len(each) == 1 else torch.stack(each).mean(0)

    def logits(self, dataset: Dataset, *, flip: bool, compiled: bool) -> list[Tensor]:
        """Return the logits of each member for a data set on its device, `[N, classes]`."""
        size = min(EVAL_BATCH, len(dataset))
        return [
            all_logits(
                member.forward(flip=flip, compiled=compiled), member.run.params, dataset, size=size
            )
            for member in self.members
        ]


def averaged(logits: Sequence[Tensor]) -> Tensor:
    """Return logits whose probabilities are the mean of the members' probabilities, `[N, classes]`.

    >>> one, other = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    >>> averaged([one, other]).softmax(-1)
    tensor([[0.7000, 0.3000]], dtype=torch.float64)
    """
    if len(logits) == 1:
        return logits[0]
    each = torch.stack([one.to(torch.float64).log_softmax(-1) for one in logits])
    return each.logsumexp(0) - math.log(len(logits))


def disagreement(logits: Sequence[Tensor]) -> float:
    """Return the share of the samples for which not all members predict the same class.

    >>> one, other = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> disagreement([one, other])
    0.5
    """
    classes = torch.stack([one.argmax(-1) for one in logits])
    return (classes != classes[0]).any(0).to(torch.float64).mean().item()
