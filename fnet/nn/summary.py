"""The summary of a network: its layers, their outputs and costs, computed without weights."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fnet.nn.check import check, network_of
from fnet.nn.model import Model

_VIEWS = ("Flatten", "Unflatten")
_MB = 2**20
_BYTES = 4  # of a float32


class Layer(NamedTuple):
    """One call of a layer, for one image.

    Attributes:
        name: dotted, as in the `state_dict`; the empty string is the network itself.
        type: the class, such as "Conv2d".
        output_shape: with a batch size of one; None if the layer holds parameters that its parent
            uses (as in `nn.MultiheadAttention`), or does not run in evaluation mode.
        parameters: the number of elements of its own parameters; 0 if an earlier row counts them.
        multiply_adds: those of a convolution or linear layer, without biases; 0 for other layers.
    """

    name: str
    type: str
    output_shape: tuple[int, ...] | None
    parameters: int
    multiply_adds: int


class Summary(NamedTuple):
    """A network's layers in the order in which they run, and their totals.

    Sizes are those of torchsummary: for one image and numbers of 4 bytes, in MB of 2**20 bytes.
    A layer called twice has its outputs counted twice, also when it works in place; flattening
    is a view and takes nothing.

    Attributes:
        input_shape: (C, H, W).
        layers: a row for each call of a layer.
        of_batch: the dotted names of the layers that draw, in training mode, numbers that belong
            to no sample; these numbers change when a batch is cut into other parts.
    """

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    of_batch: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """The number of elements of all parameters; shared parameters count once."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """The multiply-adds of a forward pass of one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def input_mb(self) -> float:
        """The size of the image."""
        return math.prod(self.input_shape) * _BYTES / _MB

    @property
    def forward_backward_mb(self) -> float:
        """The size of the outputs of all layers and of their gradients."""
        outputs = sum(
            math.prod(layer.output_shape)
            for layer in self.layers
            if layer.output_shape is not None and layer.type not in _VIEWS
        )
        return 2 * outputs * _BYTES / _MB

    @property
    def parameters_mb(self) -> float:
        """The size of the parameters."""
        return self.parameters * _BYTES / _MB

    @property
    def total_mb(self) -> float:
        """The sum of the three sizes."""
        return self.input_mb + self.forward_backward_mb + self.parameters_mb


def summary(model: Model, input_shape: tuple[int, int, int]) -> Summary:
    """Return the layers of a model, run in evaluation mode on one image of `input_shape` (C, H, W).

    There is one row for each call of a layer that contains no other layers, or has its own
    parameters. Functions that a `forward` calls have no rows. The network is built and run on the
    meta device: weights take no memory, and the global random state is restored.

    Sizes are counted as by torchsummary, except for a layer that contains others, such as a
    residual block: its output, which is that of its last layer, is not counted again.

    Raises:
        ModelError: layers that do not fit together or the images; see `check`.

    >>> from fnet.nn import from_module
    >>> make = lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(72, 10))
    >>> table = summary(from_module(make), (3, 5, 5))
    >>> [(layer.type, layer.parameters, layer.multiply_adds) for layer in table.layers]
    [('Conv2d', 224, 1944), ('Flatten', 0, 0), ('Linear', 730, 720)]
    >>> table.parameters
    954
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        module = model.make().eval()
        images = torch.empty(1, *input_shape)
    layers: list[Layer] = []
    counted: set[nn.Parameter] = set()

    def count(layer: nn.Module) -> int:
        new = set(layer.parameters(recurse=False)) - counted
        counted.update(new)
        return sum(leaf.numel() for leaf in new)

    hooks = []
    for name, layer in module.named_modules():
        if _is_row(layer):

            def add(layer: nn.Module, _: Any, output: Any, name: str = name) -> None:
                out = _first_tensor(output)
                shape = None if out is None else tuple(out.shape)
                kind = type(layer).__name__
                layers.append(Layer(name, kind, shape, count(layer), _multiply_adds(layer, out)))

            hooks.append(layer.register_forward_hook(add))
    try:
        with torch.no_grad():
            module(images)
    except Exception:
        check(model, input_shape)  # its error names the layer and both shapes
        raise
    finally:
        for hook in hooks:
            hook.remove()
    for name, layer in module.named_modules():
        if unused := count(layer):
            layers.append(Layer(name, type(layer).__name__, None, unused, 0))
    return Summary(tuple(input_shape), tuple(layers), _of_batch(model, input_shape))


def _of_batch(model: Model, input_shape: tuple[int, int, int]) -> tuple[str, ...]:
    # As many samples as no other dimension is likely to have; batch norm needs two.
    shape = (13, *input_shape)
    return network_of(model).facts(shape, torch.float32, train=True).of_batch


def _is_row(layer: nn.Module) -> bool:
    own = next(layer.parameters(recurse=False), None)
    return own is not None or next(layer.children(), None) is None


def _first_tensor(output: Any) -> Tensor | None:
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def _multiply_adds(layer: nn.Module, output: Tensor | None) -> int:
    match layer:
        case nn.Conv2d() if output is not None:
            kernel = math.prod(layer.kernel_size)
            return output.numel() * layer.in_channels // layer.groups * kernel
        case nn.Linear() if output is not None:
            return output.numel() * layer.in_features
    return 0
