"""ResNets in the form for CIFAR: torchvision's, with a stem that keeps the resolution."""

import torch
from torch import nn

from fnet.nn import Model, from_module


def resnet18(classes: int = 10, channels: int = 3) -> Model:
    """Return ResNet-18 for images `[N, channels, H, W]`: 11,173,962 parameters at the defaults.

    Basic blocks, otherwise as `resnet50`.
    """
    return from_module(
        lambda: _module([2, 2, 2, 2], False, classes, channels), memory_format=torch.channels_last
    )


def resnet50(classes: int = 10, channels: int = 3) -> Model:
    """Return ResNet-50 for images `[N, channels, H, W]`: 23,520,842 parameters at the defaults.

    DaiNet7 is compared with this network (He et al., 2016), in the form for small images: a 3x3
    stem of 64 channels with stride 1 and no pooling, bottlenecks [3, 4, 6, 3], and the mean over
    the last feature maps (4x4 for images of 32x32). Weights are initialised as in torchvision:
    convolutions Kaiming-normal by fan-out. It accepts images of any size.
    """
    return from_module(
        lambda: _module([3, 4, 6, 3], True, classes, channels), memory_format=torch.channels_last
    )


def _module(blocks: list[int], are_bottlenecks: bool, classes: int, channels: int) -> nn.Module:
    # Imported here, because importing torchvision takes seconds and only these networks need it.
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

    block = Bottleneck if are_bottlenecks else BasicBlock
    network = ResNet(block, blocks, num_classes=classes)
    network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return network
