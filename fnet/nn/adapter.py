"""From any `nn.Module` to a pure `Model`.

The module becomes two skeletons on the meta device, one in training and one in evaluation mode;
`torch.func.functional_call` runs them on tensors that the caller hands in.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fnet.nn.check import check_network
from fnet.nn.export import remember
from fnet.nn.init import Initializer, initial_params
from fnet.nn.model import Model, Params
from fnet.nn.network import Learned, Network
from fnet.private import constant


def from_module(
    make: Callable[[], nn.Module],
    *,
    init: Initializer | None = None,
    input_shape: tuple[int, int, int] | None = None,
    output: Callable[[Any], Tensor] | None = None,
    memory_format: torch.memory_format = torch.preserve_format,
) -> Model:
    """Return the `Model` of the network that `make()` builds, unchanged (torchvision's as well).

    What a network draws comes from the key given to `apply`: the masks of dropout layers and
    `StochasticDepth`, and what a `forward` draws itself by functions (`F.dropout`, attention's
    `dropout_p`, an LSTM's dropout, `torch.rand`, `randn_like`, `x.bernoulli_()`, ...). A draw whose
    first dimension is the batch's uses each sample's key; any other one key of the batch, and so
    changes when a batch is cut otherwise (`summary` names the layers).

    Buffers that a `forward` changes, batch norm's and your own, are handed back in `stats`, and
    never reach the caller's tensors. A parameter that layers share is one leaf, under its first
    name, whose gradients add up. A parameter with `requires_grad=False` is in `stats`, and stays
    what it is: that freezes it for good, without a gradient computed; `optim.freeze` freezes by
    path, for some steps or optimizers, and leaves it in `trainable`.

    The first call of `apply` in each mode, for each shape of images, makes a run without data
    (`fnet.nn.dry_run`), which refuses what is not pure: Python or numpy generators, attributes that
    a `forward` changes, weights that it writes into, ... Within a `torch.compile` of your own it
    refuses `rand_like`, `randn_like` and `randint_like` as well, which Dynamo hides: draw with a
    shape (`torch.rand(x.shape, device=x.device)`), or compile with `fnet.compiler.compile`.

    In evaluation mode, uncompiled, the logits are those of `make().eval()` with the same weights,
    to the last bit: for the same images, of the same strides, on the same device with the same
    number of threads, with gradients recorded for both or for neither. That needs weights of the
    same strides, since a convolution kernel is chosen by them: those of `init` and
    `from_state_dict` have the module's own, unless `memory_format` says otherwise (then they agree
    with `to_module`, and with `make().to(memory_format=...)`).

    Args:
        make: builds the module, a new one at each call.
        init: draws the weights of linear and convolution layers, a key for each leaf, such as
            `xavier_uniform()`; their biases are zero. None: the module's own initialiser runs,
            seeded from the key.
        input_shape: (C, H, W), to check the layers against each other at once (`fnet.nn.check`).
        output: picks the logits where the module returns something else than a tensor, such as
            `lambda out: out.logits` for torchvision's googlenet with its auxiliary outputs.
        memory_format: the strides of the weights that `init` makes. The default keeps the module's
            own. `torch.channels_last` lays out those of four dimensions as fnet's images are;
            fnet's own networks have it.

    Raises:
        ModelError: a layer cannot be made pure, or the layers do not fit `input_shape`.

    >>> from fnet import random
    >>> model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 2)))
    >>> params = model.init(random.key(0))
    >>> sorted(params.trainable)
    ['1.bias', '1.weight']
    >>> logits, stats = model.apply(params, torch.zeros(5, 3, 2, 2))
    >>> logits.shape
    torch.Size([5, 2])
    """
    network = Network(make, output)
    remember(network.leaves, network.rates)

    # Also within a user's own torch.compile, which calls it while it traces.
    @constant
    def learn(shape: tuple[int, ...], dtype: torch.dtype, train: bool) -> Learned:
        return network.learn(shape, dtype, train)

    refuse_dynamo = constant(lambda draw: network.refuse_dynamo(draw))

    def apply(
        params: Params, images: Tensor, *, key: Tensor | None = None, train: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        learned = learn(tuple(images.shape), images.dtype, train)
        if learned.unseen and torch.compiler.is_dynamo_compiling():
            refuse_dynamo(learned.unseen)
        return network(params, images, key, train, learned)

    def initial(key: Tensor) -> Params:
        return initial_params(make, key, init, network.require_new, memory_format)

    apply.network = network  # type: ignore[attr-defined]
    if input_shape is not None:
        check_network(network, input_shape)
    return Model(initial, apply, make)
