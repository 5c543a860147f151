"""The common part of the PyTorch contenders: the module, torch's optimizer, the training loop."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fnet.run.recipe import Experiment
from recipes.bench.work import SGD, Adam, Optimizer, Work

_READ_EVERY = 100


def set_up(work: Work, experiment: Experiment) -> nn.Module:
    """Set PyTorch's threads and seed in this process, and return the initialised module."""
    torch.set_num_threads(work.threads)
    torch.manual_seed(0)
    return experiment.model.make().to(work.device).train()


def torch_optimizer(
    settings: Optimizer, parameters: Iterable[Tensor], fused: bool | None = None
) -> torch.optim.Optimizer:
    """Return torch's optimizer with these settings; `fused=None` is torch's default."""
    match settings:
        case Adam(lr, b2, decay):
            return torch.optim.Adam(
                parameters, lr, betas=(0.9, b2), weight_decay=decay, fused=fused
            )
        case SGD(lr, momentum, decay):
            return torch.optim.SGD(
                parameters, lr, momentum=momentum, weight_decay=decay, fused=fused
            )


def steps(
    batches: Iterable[tuple[Tensor, Tensor]],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    bf16: bool = False,
) -> Iterator[Tensor]:
    """Yield the loss of each training step; like a script, read it every `_READ_EVERY` steps."""
    for step, (images, labels) in enumerate(batches, 1):
        optimizer.zero_grad(set_to_none=True)
        cast = torch.autocast(images.device.type, torch.bfloat16) if bf16 else nullcontext()
        with cast:
            loss = F.cross_entropy(module(images), labels)
        loss.backward()
        optimizer.step()
        if step % _READ_EVERY == 0:
            loss.item()
        yield loss.detach()
