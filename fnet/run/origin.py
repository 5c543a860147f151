"""The origin of a recipe: its module or its file, and the command that runs it."""

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
    """The module or the file of a recipe.

    Attributes:
        name: the module, or the absolute path of a file that is run as `python mine.py`.
        checksum: the SHA-256 of that file when it was read, hexadecimal; empty for a module.
    """

    name: str
    checksum: str = ""

    @property
    def packaged(self) -> bool:
        """Whether it is a module of `recipes`: a record may only cause an import of these."""
        return _PACKAGED.fullmatch(self.name) is not None

    @property
    def words(self) -> list[str]:
        """The arguments of the command that runs the recipe from the current directory.

        >>> Origin("my.recipes.tiny").words
        ['python', '-m', 'my.recipes.tiny']
        """
        if not self.checksum:
            return ["python", "-m", self.name.removesuffix(".__main__")]
        near = os.path.relpath(self.name)
        return ["python", self.name if near.startswith("..") else near]

    @property
    def command(self) -> str:
        """The command that runs the recipe, quoted for a POSIX shell."""
        return shlex.join(self.words)

    def words_of(self, processes: int) -> list[str]:
        """Return the arguments of the command that runs the recipe with so many processes.

        >>> Origin("my.recipes.tiny").words_of(2)
        ['torchrun', '--nproc-per-node', '2', '-m', 'my.recipes.tiny']
        """
        if processes == 1:
            return self.words
        return ["torchrun", "--nproc-per-node", str(processes), *self.words[1:]]

    @property
    def recipe_option(self) -> str:
        """The option that a tool needs to open a run of this recipe: " --recipe ..." or ""."""
        return "" if self.packaged else f" --recipe {shlex.quote(self.name)}"

    def same_place(self, other: "Origin") -> bool:
        """Return whether both are the same module or file; a file may have been moved or edited."""
        moved = bool(self.checksum) and self.checksum == other.checksum
        return moved or self.name == other.name


def of_file(file: Path | str) -> Origin:
    """Return the origin of a recipe in a file.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(file).resolve()
    return Origin(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def of_namespace(names: Mapping[str, Any]) -> Origin:
    """Return the origin of a recipe that the code of a module creates.

    Args:
        names: the globals of that module. If it is `__main__`, `python -m` has set `__spec__` to
            the true module; `python mine.py` has only set `__file__`.

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
    except (KeyError, OSError):  # at the interactive prompt, or in a notebook
        return Origin(name)


def of_caller() -> Origin:
    """Return the origin of the calling code; to be used as a dataclass field's default factory."""
    # Frame 0 is this function, 1 the dataclass's __init__, 2 the code that calls it.
    return of_namespace(sys._getframe(2).f_globals)
