"""The networks of the experiments, one architecture a file."""

from fnet.models.dainet7 import dainet7

__all__ = ["dainet7"]
