"""The message for a file of a run that cannot be written: a full disk, or no permission."""

RESUME = " or change the permissions, and resume from the last checkpoint, which is intact"
"""The advice while a run is training and has saved a checkpoint."""


def write_error(action: str, reason: object, advice: str = RESUME) -> str:
    """Return the message for the user.

    Args:
        action: what failed, such as "write runs/mnist-1/result.json".
        reason: the error's `strerror`, or the error.
        advice: follows "free disk space": what else helps, and how to go on.

    >>> write_error("write runs", "No space left on device", ", or give another --out")
    'cannot write runs: No space left on device: free disk space, or give another --out'
    """
    return f"cannot {action}: {reason}: free disk space{advice}"
