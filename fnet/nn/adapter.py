"""The adapter from any `nn.Module` to a pure `Model`.

The module becomes two skeletons on the meta device, one in training and one in evaluation mode;
`torch.func.functional_call` runs them on the tensors that the caller passes.
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
    """Return the `Model` of the unmodified network that `make()` builds (torchvision's, too).

    All random numbers of the network come from the key given to `apply`: the masks of dropout
    layers and `StochasticDepth`, and the functions that a `forward` calls (`F.dropout`, attention's
    `dropout_p`, an LSTM's dropout, `torch.rand`, `randn_like`, `x.bernoulli_()`, ...). If the first
    dimension of a draw is the batch size, each sample's own key is used. Any other draw uses one
    key of the batch, so its numbers change when a batch is split differently (`summary` names the
    layers).

    Buffers that a `forward` changes, those of batch norm and your own, are returned in `stats`; the
    caller's tensors are never changed. A parameter that layers share is one leaf, under its first
    name, and its gradients are summed. A parameter with `requires_grad=False` is in `stats` and
    never changes: it is frozen permanently, and no gradient is computed. `optim.freeze`, in
    contrast, freezes by path, for some steps or optimizers, and leaves the parameter in
    `trainable`.

    The first call of `apply` in each mode, for each shape of images, does a dry run
    (`fnet.nn.dry_run`), which refuses a network that is not pure: it uses Python or numpy
    generators, its `forward` changes attributes or writes to weights, ... Within your own
    `torch.compile`, `rand_like`, `randn_like` and `randint_like` are refused as well, because
    Dynamo hides them: draw with a shape (`torch.rand(x.shape, device=x.device)`), or compile with
    `fnet.compiler.compile`.

    In evaluation mode, uncompiled, the logits are those of `make().eval()` with the same weights,
    to the last bit. This holds for images with the same values and strides, on the same device with
    the same number of threads, and with gradients recorded for both or for neither. Weights must
    have the same strides too, because these choose the convolution kernel: `init` and
    `from_state_dict` keep the module's own strides. With another `memory_format`, the logits are
    those of `make().to(memory_format=...)` and of `to_module`.

    Args:
        make: builds a new module at each call.
        init: draws the weights of linear and convolution layers, with one key per leaf, such as
            `xavier_uniform()`; their biases are zero. None: the module's own initialiser runs,
            seeded from the key.
        input_shape: (C, H, W), to check immediately that the layers fit together
            (`fnet.nn.check`).
        output: picks the logits if the module does not return a tensor, such as
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

    # `constant`: a user's own torch.compile must call it during tracing, not trace it.
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
