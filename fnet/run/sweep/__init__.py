"""Sweeps: runs that differ in a few options, compared in one table and one plot.

An *arm* is a recipe with a config, a *member* is an arm with a seed. A member is an ordinary run of
`fnet.run.train`, with a run directory inside the directory of the sweep:

| file | content |
| --- | --- |
| `sweep.json` | the arms, the seeds, the figures so far, the arms stopped by `--halving` |
| `RECIPE-LABEL-sSEED` | the run directory of a member |
| `curves.png`, `.svg` | the mean curves of each arm over its seeds |
| `swept.png`, `.svg` | the accuracy over each swept option |

What is left to do is read from the run directories at each start. So a sweep that was stopped, or
killed, goes on where it was.
"""

from fnet.run.sweep.arms import Arm, ArmResult, Member, Sweep, check_arms
from fnet.run.sweep.conductor import conduct
from fnet.run.sweep.record import open_sweep

__all__ = ["Arm", "ArmResult", "Member", "Sweep", "check_arms", "conduct", "open_sweep"]
