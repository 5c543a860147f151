"""The module that is exported: uint8 images in, probabilities out, without a line of fnet in it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fnet.data import Normalize, PadResize, Preprocess
from fnet.nn import to_module
from fnet.run.opened import Run

# As in PyTorch's kernel for uint8: weights are integers of at most 15 bits.
_MAX_WEIGHT = 2**15
_MAX_PRECISION = 22


class Classifier(nn.Module):
    """A network with its preprocessing before it and a softmax behind it.

    `forward` takes uint8 images `[N, C, H, W]`, and returns float32 probabilities `[N, classes]`.
    """

    def __init__(self, network: nn.Module, preprocess: nn.Module) -> None:
        super().__init__()
        self.preprocess, self.network = preprocess, network

    def forward(self, images: Tensor) -> Tensor:
        """Return the probabilities of the classes."""
        logits: Tensor = self.network(self.preprocess(images))
        return logits.softmax(-1)


def classifier_of(run: Run, network: nn.Module | None = None) -> Classifier:
    """Return the classifier of a run, on the CPU in evaluation mode.

    Args:
        run: the run, with its weights on the CPU.
        network: an ordinary module of the run's network; None: one with the run's weights.
    """
    module = to_module(run.model, run.params) if network is None else network
    return Classifier(module, _preprocess(run.preprocess, run.input_shape)).eval()


def _preprocess(preprocess: Preprocess, shape: tuple[int, int, int]) -> nn.Module:
    """Return the preprocessing as a module, whose constants are buffers."""
    if isinstance(preprocess, Normalize):
        return _Normalize(preprocess)
    if isinstance(preprocess, PadResize):
        return nn.Sequential(_PadResize(preprocess.padding, shape), _Normalize(preprocess.then))
    return _Function(preprocess)


class _Function(nn.Module):
    """A preprocessing of another kind, as it is: the exporter traces what it does."""

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self._function = preprocess

    def forward(self, images: Tensor) -> Tensor:
        return self._function(images)


class _Normalize(nn.Module):
    """`fnet.data.Normalize`: the same operations in the same order."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalize: Normalize) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(normalize.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(normalize.std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images.to(torch.float32) / 255 - self.mean) / self.std


class _PadResize(nn.Module):
    """The first part of `fnet.data.PadResize`, on a CPU, to the bit.

    A CPU resizes uint8 images in integers; programs that run ONNX do it in floats, and then one
    pixel in six is one level off. So both passes are written out as matrix products of integers,
    which float32 stores exactly (they stay below 2^24).
    """

    rows: Tensor
    rows_unit: Tensor
    columns: Tensor
    columns_unit: Tensor

    def __init__(self, padding: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self._padding = padding
        for name, side in (("rows", shape[1]), ("columns", shape[2])):
            weights, precision = _integer_weights(side + 2 * padding, side)
            self.register_buffer(name, weights)
            self.register_buffer(f"{name}_unit", torch.tensor(2.0**precision))

    def forward(self, images: Tensor) -> Tensor:
        padded = F.pad(images.to(torch.float32), (self._padding,) * 4)
        wide = _rounded(padded @ self.columns.mT, self.columns_unit)
        return _rounded(self.rows @ wide, self.rows_unit)


def _rounded(sums: Tensor, unit: Tensor) -> Tensor:
    return ((sums + unit / 2) / unit).floor().clamp(0, 255)


def _integer_weights(side: int, to: int) -> tuple[Tensor, int]:
    """Return the weights of one pass of a resize, float32 `[to, side]`, and their precision.

    The weights are integers, in units of 2^-precision; the precision is the largest at which they
    stay below 2^15.
    """
    eye = torch.eye(side, dtype=torch.float64)[None, None]
    exact = F.interpolate(eye, (side, to), mode="bilinear", antialias=True)[0, 0].mT
    precision = 0
    largest = exact.max().item()
    while precision < _MAX_PRECISION and int(0.5 + largest * 2 ** (precision + 1)) < _MAX_WEIGHT:
        precision += 1
    return (exact * 2**precision + 0.5).floor().to(torch.float32), precision
