"""Data parallelism over processes: the mean of gradients, synchronized batch norm, the group.

Every process runs the same program. Each step gets the same global batch everywhere, every process
computes its own rows, and what is summed or averaged over the processes is the same to the last bit
on all of them. So params, optimizer states and metrics never differ between processes.
"""

from fnet.parallel.collective import PeerError, sum_over_processes
from fnet.parallel.gradient import mean_over_processes, own_rows, total_over_processes
from fnet.parallel.world import World, launched, process_group, recall, remember

__all__ = [
    "PeerError",
    "World",
    "launched",
    "mean_over_processes",
    "own_rows",
    "process_group",
    "recall",
    "remember",
    "sum_over_processes",
    "total_over_processes",
]
