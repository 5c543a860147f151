"""The architectures written out by hand as eager modules without dropout.

Layers are made in the order in which they run (a shortcut last in its block), so that parameters
and statistics pair with those of `fnet.models` by position.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


class Net(nn.Module):
    def __init__(
        self, channels=3, features=400, classes=10, padding=0, activation=F.relu, linears=3
    ):
        super().__init__()
        self.activation = activation
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=padding)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.head = Head([features, *[120, 84][: linears - 1], classes], activation)

    def forward(self, x):
        x = F.max_pool2d(self.activation(self.conv1(x)), 2)
        x = F.max_pool2d(self.activation(self.conv2(x)), 2)
        return self.head(x)


class Head(nn.Module):
    """Linear layers of the given sizes with activations between them."""

    def __init__(self, sizes: list[int], activation: Activation):
        super().__init__()
        self.activation = activation
        self.layers = nn.ModuleList(nn.Linear(*sizes[i : i + 2]) for i in range(len(sizes) - 1))

    def forward(self, x):
        x = self.layers[0](x.flatten(1))
        for layer in self.layers[1:]:
            x = layer(self.activation(x))
        return x


class CNN(nn.Module):
    def __init__(self, channels=3, features=2048, classes=10):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, 16, 5, padding=2), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 32, 5, padding=2), nn.BatchNorm2d(32)
        self.fc = nn.Linear(features, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        return self.fc(x.flatten(1))


class CNNpro(nn.Module):
    def __init__(self, channels=3, features=1024, classes=10):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, 16, 5, padding=2), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 32, 5, padding=2), nn.BatchNorm2d(32)
        self.conv3, self.norm3 = nn.Conv2d(32, 64, 5, padding=2), nn.BatchNorm2d(64)
        self.fc = nn.Linear(features, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        x = F.max_pool2d(F.relu(self.norm3(self.conv3(x))), 2)
        return self.fc(x.flatten(1))


class DaiNet(nn.Module):
    def __init__(
        self, channels=3, features=1536, classes=10, activation=F.relu, linears=3, deeper=False
    ):
        super().__init__()
        self.activation, self.deeper = activation, deeper
        self.conv1, self.norm1 = nn.Conv2d(channels, 12, 5, padding=2), nn.BatchNorm2d(12)
        self.conv2, self.norm2 = nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24)
        if deeper:
            self.conv3, self.norm3 = nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24)
        self.head = Head([features, *[128, 84][: linears - 1], classes], activation)

    def forward(self, x):
        x = F.max_pool2d(self.activation(self.norm1(self.conv1(x))), 2)
        x = self.activation(self.norm2(self.conv2(x)))
        if self.deeper:
            x = self.activation(self.norm3(self.conv3(x)))
        return self.head(F.max_pool2d(x, 2))


class DaiNet1(nn.Module):
    def __init__(self, channels=3, features=192, classes=10, activation=F.relu, linears=3):
        super().__init__()
        self.activation = activation
        self.conv1, self.norm1 = nn.Conv2d(channels, 12, 5, padding=2), nn.BatchNorm2d(12)
        self.conv2, self.norm2 = nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24)
        self.conv3, self.norm3 = nn.Conv2d(24, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.head = Head([features, *[128, 84][: linears - 1], classes], activation)

    def forward(self, x):
        x = F.max_pool2d(self.activation(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(self.activation(self.norm2(self.conv2(x))), 2)
        x = F.max_pool2d(self.activation(self.norm3(self.conv3(x))), 2)
        return self.head(x)


class DaiNet7(nn.Module):
    def __init__(self, channels=3, classes=10, activation=F.relu):
        super().__init__()
        self.activation = activation
        self.conv1, self.norm1 = nn.Conv2d(channels, 64, 3, padding=1), nn.BatchNorm2d(64)
        self.conv2, self.norm2 = nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64)
        self.conv3, self.norm3 = nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128)
        self.conv4, self.norm4 = nn.Conv2d(128, 128, 3, padding=1), nn.BatchNorm2d(128)
        self.conv5, self.norm5 = nn.Conv2d(128, 256, 3, padding=1), nn.BatchNorm2d(256)
        self.conv6, self.norm6 = nn.Conv2d(256, 256, 3, padding=1), nn.BatchNorm2d(256)
        self.fc = nn.Linear(256, classes)

    def forward(self, x):
        x = self.norm1(self.activation(self.conv1(x)))
        x = F.max_pool2d(self.norm2(self.activation(self.conv2(x))), 2)
        x = self.norm3(self.activation(self.conv3(x)))
        x = F.max_pool2d(self.norm4(self.activation(self.conv4(x))), 2)
        x = self.norm5(self.activation(self.conv5(x)))
        x = self.norm6(self.activation(self.conv6(x)))
        return self.fc(x.mean((2, 3)))


class Mynet(nn.Module):
    def __init__(self, channels=3, features=2592, classes=10):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, 64, 3, padding=1), nn.BatchNorm2d(64)
        self.conv2, self.norm2 = nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128)
        self.conv3, self.norm3 = nn.Conv2d(128, 64, 3, padding=1), nn.BatchNorm2d(64)
        self.conv4, self.norm4 = nn.Conv2d(64, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.fc1, self.fc2 = nn.Linear(features, 2048), nn.Linear(2048, classes)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2, padding=1)
        x = F.relu(self.norm3(self.conv3(x)))
        x = F.max_pool2d(F.relu(self.norm4(self.conv4(x))), 2, padding=1)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class MyCNN(nn.Module):
    def __init__(self, channels=1, features=288, classes=10):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, 3, 3, padding=2), nn.BatchNorm2d(3)
        self.conv2, self.norm2 = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv3, self.norm3 = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.fc = nn.Linear(features, classes)

    def forward(self, x):
        x = F.max_pool2d(F.leaky_relu(self.norm1(self.conv1(x)), 0.2), 2)
        x = F.max_pool2d(F.leaky_relu(self.norm2(self.conv2(x)), 0.2), 2)
        x = F.max_pool2d(F.leaky_relu(self.norm3(self.conv3(x)), 0.2), 2)
        return self.fc(x.flatten(1))


class Residual(nn.Module):
    """Convolutions (kernel, outputs, stride), each with batch norm, and a shortcut around them."""

    def __init__(self, inputs: int, convs: list[tuple[int, int, int]]):
        super().__init__()
        self.layers = nn.ModuleList()
        sizes = [inputs, *[outputs for _, outputs, _ in convs]]
        for width, (kernel, outputs, stride) in zip(sizes, convs, strict=False):
            self.layers.append(_conv_norm(width, outputs, kernel, stride))
        stride = max(stride for _, _, stride in convs)
        changes = stride > 1 or inputs != outputs
        self.shortcut = _conv_norm(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x):
        y = x
        for layer in self.layers[:-1]:
            y = F.relu(layer(y))
        return F.relu(self.layers[-1](y) + self.shortcut(x))


class ResNet(nn.Module):
    """`bottleneck` decides the kind of the blocks; `depths` is how many there are in each stage."""

    def __init__(self, bottleneck: bool, depths: list[int], channels=3, classes=10):
        super().__init__()
        self.stem = _conv_norm(channels, 64, 3, 1)
        self.blocks = nn.Sequential()
        inputs = 64
        for stage, depth in enumerate(depths):
            width = 64 * 2**stage
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                if bottleneck:
                    convs = [(1, width, 1), (3, width, stride), (1, 4 * width, 1)]
                else:
                    convs = [(3, width, stride), (3, width, 1)]
                self.blocks.append(Residual(inputs, convs))
                inputs = convs[-1][1]
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.fc(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Probabilities(nn.Module):
    """A softmax after a network."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return torch.softmax(self.module(x), dim=1)
