"""The errors of checkpoints; a command prints their message, without a traceback."""


class CheckpointError(Exception):
    """A checkpoint that cannot be written, read, or used here; says which, why, what to do."""


class DamagedError(CheckpointError):
    """A checkpoint that is damaged; an older one may be intact."""


class RunLockedError(CheckpointError):
    """A run directory that another process writes to."""
