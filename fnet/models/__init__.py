"""The networks of the experiments, one family of architectures per file."""

from fnet.models.blocks import Activation, Size
from fnet.models.cnn import cnn, cnnpro
from fnet.models.dainet import dainet, dainet1
from fnet.models.dainet7 import DAINET7_DROPOUT, dainet7
from fnet.models.mycnn import mycnn
from fnet.models.mynet import mynet
from fnet.models.net import lenet5, net
from fnet.models.resnet import resnet18, resnet50

__all__ = [
    "DAINET7_DROPOUT",
    "Activation",
    "Size",
    "cnn",
    "cnnpro",
    "dainet",
    "dainet1",
    "dainet7",
    "lenet5",
    "mycnn",
    "mynet",
    "net",
    "resnet18",
    "resnet50",
]
