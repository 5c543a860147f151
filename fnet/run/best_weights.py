"""The weights of the best epoch on disk, when a run goes on: which ones they should be, and are."""

from pathlib import Path

from fnet.nn import ModelError
from fnet.run.checkpoint import weights_epoch


def best_problem(file: Path, best: int | None, done: int, *, at_hand: bool) -> str | None:
    """Return a sentence on why a file is not the weights of the best epoch, None where it is.

    It is not after a fallback to an older checkpoint, which may be of before the best epoch's end,
    or where it was lost.

    Args:
        file: the run's `best.safetensors`.
        best: the best of the epochs done, None before the first ends: there is no file yet.
        done: how many epochs are done.
        at_hand: whether the run has the weights of the best epoch, and so writes the file again.
    """
    try:
        epoch = weights_epoch(file)
        what = f"is of epoch {epoch}" if epoch else "does not say which epoch it is of"
    except ModelError:
        epoch, what = None, "is damaged" if file.exists() else "is missing"
    if epoch == best:
        return None
    if at_hand:
        return f"{file.name} {what}: it is written again, with the weights of epoch {best}."
    if epoch is not None and epoch > done:
        return (
            f"{file.name} {what}: the run goes on from before that epoch's end, and writes it "
            "again when it gets there."
        )
    return (
        f"{file.name} {what}, and the weights of epoch {best}, the best so far, cannot be had "
        "again: it is written when a better epoch comes."
    )
