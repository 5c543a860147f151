"""The binary files of a run directory: weights, checkpoints of the training state, the lock."""

from fnet.run.checkpoint.errors import CheckpointError, DamagedError, RunLockedError
from fnet.run.checkpoint.format import restore_state, save_state
from fnet.run.checkpoint.lock import LOCK, run_lock
from fnet.run.checkpoint.series import Checkpoints, Restored
from fnet.run.checkpoint.weights import (
    load_weights,
    read_weights,
    save_weights,
    weights_details,
    weights_epoch,
)

__all__ = [
    "LOCK",
    "CheckpointError",
    "Checkpoints",
    "DamagedError",
    "Restored",
    "RunLockedError",
    "load_weights",
    "read_weights",
    "restore_state",
    "run_lock",
    "save_state",
    "save_weights",
    "weights_details",
    "weights_epoch",
]
