"""What a folder of images lacks: errors for what cannot be trained, warnings for what can."""

from collections.abc import Sequence
from pathlib import Path

from fnet.data.dataset import DataError, quoted
from fnet.data.files.layout import Layout


def require_usable(folder: Path, layout: Layout, test: float | None) -> None:
    """Raise a DataError if the folder has no split, has one already, or has no image in one.

    Args:
        folder: the folder.
        layout: its layout.
        test: the fraction of test images, for a folder without a split.
    """
    has_split = "all" not in layout.parts
    if has_split and test is not None:
        raise DataError(
            f"The folder {folder} is already split into training and test images, and --test "
            f"{test:g} would split it again: do not give --test."
        )
    if not has_split and test is None:
        lacking = "test" if (folder / "train").is_dir() else "train"
        raise DataError(
            f"The folder {folder} has no folder {lacking!r}. Give --test 0.2 to hold out 20 % of "
            "the images of each class, or move the images into two folders, train and test (or "
            "val), each with one folder for every class."
        )
    for part in layout.parts.values():
        if not any(part.files.values()):
            raise DataError(
                f"The class folders in {part.base} are empty: no file in them is an image. Put "
                "the images of each class into its folder."
            )


def doubts(folder: Path, layout: Layout, test: float | None) -> list[str]:
    """Return the warnings about a folder that can be trained on, each with what it means."""
    said = []
    if layout.unused:
        said.append(
            f"{folder} has a folder 'test' and {quoted(layout.unused)}: the test images are those "
            f"of 'test', and {quoted(layout.unused)} is not used. To choose the best epoch on "
            "held-out images, give --validation 0.1."
        )
    if layout.empty:
        said.append(
            f"{_folders(layout.empty)} in {folder} {_has(layout.empty)} no image: "
            f"{_it(layout.empty, 'it is', 'they are')} left out, and the network does not know "
            f"{_it(layout.empty, 'that class', 'those classes')}."
        )
    untrained = _without(layout, "train")
    if untrained:
        said.append(
            f"{_folders(untrained)} in {layout.parts['train'].base} {_has(untrained)} no training "
            f"image: the network cannot learn {quoted(untrained)}, and each test image of "
            f"{_it(untrained, 'it', 'them')} counts as a mistake."
        )
    untested = _without(layout, "test") if test is None else _single(layout, test)
    if untested:
        said.append(
            f"the test split of {folder} has no {quoted(untested)}: "
            f"{_it(untested, 'it is', 'they are')} trained, but the test accuracy says nothing "
            f"about {_it(untested, 'it', 'them')}."
        )
    if len(layout.classes) == 1:
        said.append(
            f"{folder} has only one class, {layout.classes[0]!r}: every answer is right, so an "
            "accuracy of 100 % says nothing. Add a folder for each class that it is to be told "
            "from."
        )
    return said


def _without(layout: Layout, split: str) -> list[str]:
    """Return the classes without an image in a split."""
    if split not in layout.parts:
        return []
    files = layout.parts[split].files
    return [name for name in layout.classes if not files.get(name)]


def _single(layout: Layout, test: float) -> list[str]:
    """Return the classes of a folder without a split that have only one image, to train on."""
    files = layout.parts["all"].files
    return [name for name in layout.classes if len(files[name]) == 1] if test < 1 else []


def _folders(names: Sequence[str]) -> str:
    return f"the class folder{'' if len(names) == 1 else 's'} {quoted(names)}"


def _has(names: Sequence[str]) -> str:
    return _it(names, "has", "have")


def _it(names: Sequence[str], one: str, many: str) -> str:
    return one if len(names) == 1 else many
