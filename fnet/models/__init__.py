"""The networks of the experiments, one architecture a file."""

from fnet.models.dainet7 import DAINET7_DROPOUT, dainet7

__all__ = ["DAINET7_DROPOUT", "dainet7"]
