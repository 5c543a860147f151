"""Where a recipe lives: its module or its file, and the command that runs it."""

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PACKAGED = re.compile(r"recipes(\.[A-Za-z_]\w*)+", re.ASCII)


@dataclass(frozen=True)
class Origin:
    """Where a recipe lives.

    Attributes:
        name: its module, or the absolute path of its file where that is run as `python mine.py`.
        checksum: SHA-256 of that file when it was read, in hexadecimal; empty for a module.
    """

    name: str
    checksum: str = ""

    @property
    def packaged(self) -> bool:
        """Whether it is a module of `recipes`: only these are imported because a record says so."""
        return _PACKAGED.fullmatch(self.name) is not None

    @property
    def words(self) -> list[str]:
        """The words of the command that runs it from the current directory.

        >>> Origin("my.recipes.tiny").words
        ['python', '-m', 'my.recipes.tiny']
        """
        if not self.checksum:
            return ["python", "-m", self.name.removesuffix(".__main__")]
        near = os.path.relpath(self.name)
        return ["python", self.name if near.startswith("..") else near]

    @property
    def command(self) -> str:
        """The command that runs it, for a POSIX shell."""
        return shlex.join(self.words)

    @property
    def recipe_option(self) -> str:
        """What a tool needs beside a run of this recipe: " --recipe ...", or nothing."""
        return "" if self.packaged else f" --recipe {shlex.quote(self.name)}"

    def same_place(self, other: "Origin") -> bool:
        """Return whether both are one module or one file, which may have moved or changed."""
        moved = bool(self.checksum) and self.checksum == other.checksum
        return moved or self.name == other.name


def of_file(file: Path | str) -> Origin:
    """Return the origin of a recipe whose file is run.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(file).resolve()
    return Origin(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def of_namespace(names: Mapping[str, Any]) -> Origin:
    """Return the origin of what a module's code makes.

    Args:
        names: the globals of that code. As `__main__`, `python -m` left the module's name in
            `__spec__`; `python mine.py` left only `__file__`.

    >>> of_namespace({"__name__": "my.recipes.tiny"}).name
    'my.recipes.tiny'
    """
    name = str(names.get("__name__", "__main__"))
    if name != "__main__":
        return Origin(name)
    if spec := names.get("__spec__"):
        return Origin(spec.name)
    try:
        return of_file(names["__file__"])
    except (KeyError, OSError):  # at a prompt, or in a notebook
        return Origin(name)


def of_caller() -> Origin:
    """Return the origin of the code that makes a dataclass of which this is a default factory."""
    # This function, then the dataclass's __init__, then the code that calls it.
    return of_namespace(sys._getframe(2).f_globals)
