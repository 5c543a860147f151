"""A logger for TensorBoard, with PyTorch's writer: curves, config, sample images, the graph."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from torchvision.utils import make_grid

from fnet.data.dataset import printable
from fnet.show.loggers.logger import Start

_FLUSH_SECONDS = 10
_COMPARED = ("test_accuracy", "test_loss", "train_accuracy", "train_loss")


class TensorBoardLog:
    """Writes an event file to a directory: view it with `tensorboard --logdir`.

    The x-axis is the epoch for "loss/train", "loss/test", "accuracy/test", "learning_rate", ...,
    and the step for "step/loss" and "step/accuracy". The config is written at the start as
    hyperparameters, next to the current figures. A resumed run shows each step once, although it
    repeats some.

    Args:
        directory: the directory of the event file.
        warn: called if the graph cannot be traced.
        graph: whether to write the network's graph.
    """

    def __init__(
        self, directory: Path, warn: Callable[[str], None], *, graph: bool = False
    ) -> None:
        self._directory, self._warn, self._graph = directory, warn, graph
        self._writer: Any = None
        self._end: Any = None

    def start(self, start: Start) -> None:
        """Write the config, the sample images and the graph."""
        # This also purges epochs by number, but none that is done: an epoch's number is at most
        # the number of its last step.
        self._writer = SummaryWriter(
            str(self._directory), purge_step=start.step + 1, flush_secs=_FLUSH_SECONDS
        )
        # Not `add_hparams`: it needs the final figures, so it is too late if the run is stopped.
        experiment, begin, self._end = hparams(
            {name: _plain(value) for name, value in start.config.items()},
            {_tag(name): None for name in _COMPARED},
        )
        self._add(experiment)
        self._add(begin)
        self._writer.add_image("training images", make_grid(start.images.cpu(), padding=1))
        if self._graph:
            with warnings.catch_warnings():
                # PyTorch's writer uses torch.jit.trace, which warns that it is deprecated.
                warnings.simplefilter("ignore")
                try:
                    self._writer.add_graph(start.module(), start.example)
                except Exception as error:  # the user's network can raise anything
                    reason = str(error).partition("\n")[0]
                    self._warn(f"No graph in TensorBoard: the network cannot be traced ({reason}).")
        self._writer.flush()

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        for name, value in figures.items():
            self._writer.add_scalar(f"step/{name}", value, step)

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Write the figures of an epoch."""
        for name, value in line.items():
            if name != "epoch":
                self._writer.add_scalar(_tag(name), value, line["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Write what is still buffered."""
        if self._end is not None:
            self._add(self._end)
            self._writer.close()

    def _add(self, summary: Any) -> None:
        self._writer.file_writer.add_summary(summary)


def _tag(name: str) -> str:
    """Return the tag of an entry: TensorBoard groups plots by the part before the slash.

    >>> _tag("test_loss"), _tag("learning_rate")
    ('loss/test', 'learning_rate')
    """
    split, _, figure = name.partition("_")
    return f"{figure}/{split}" if split in ("train", "test", "validation") else name


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return printable(str(value))
