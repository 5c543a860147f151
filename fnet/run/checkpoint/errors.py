"""What can be wrong with checkpoints: errors for people, which end a command with a message."""


class CheckpointError(Exception):
    """A checkpoint that cannot be written, read, or used here: which, why, and what to do."""


class DamagedError(CheckpointError):
    """A checkpoint that is not whole: an older one may be."""


class RunLockedError(CheckpointError):
    """A run's directory that another process writes to."""
