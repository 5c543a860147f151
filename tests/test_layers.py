"""Imports go downward only; the layers are those of the list below, lowest first."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    ["private"],
    ["tree", "opaque", "files", "losses", "metrics"],
    ["random", "optim", "compiler"],
    ["nn"],
    ["data", "models"],
    ["step"],
    ["loop", "evaluation", "debug", "parallel", "ensemble"],
    ["testing", "analysis"],
    ["show"],
    ["run"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted((ROOT / "fnet").rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Return the rooms of fnet that a file imports: {"tree", "optim", ...}."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            first, *rest = node.module.split(".")
            if first == "fnet":
                found |= {rest[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("fnet.")}
    return set(found)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_downward(file):
    own = file.relative_to(ROOT / "fnet").with_suffix("").parts[0]
    if own == "__init__":
        assert not imported(file)
        return
    for other in imported(file) - {own}:
        assert LEVEL[other] < LEVEL[own], f"fnet.{own} imports fnet.{other}, which is not below it"


def test_only_tree_and_private_know_torchs_pytrees():
    for file in FILES:
        if "_pytree" in file.read_text(encoding="utf-8"):
            assert file.parent.name == "tree" or file.name == "private.py"


def test_recipes_are_not_imported_by_the_library():
    for file in FILES:
        found = re.search(r"^\s*(import|from) recipes", file.read_text(encoding="utf-8"), re.M)
        assert found is None


# Attributes of PyTorch's objects that a name alone does not show to be PyTorch's.
OF_OBJECTS = {"_buffers", "_parameters", "_modules", "_schema", "_version", "_NormBase"} | {
    "_BatchNorm",
    "_forward_hooks",
    "_forward_pre_hooks",
    "_non_persistent_buffers_set",
}


def is_private(part: str) -> bool:
    return part.startswith("_") and not part.startswith("__")


def private_names(file: Path) -> set[str]:
    """Return the private names of PyTorch that a file imports or reads."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)] + (["torch." + node.attr] * (node.attr in OF_OBJECTS))
        found |= {
            name
            for name in names
            if re.match(r"(torch|torchvision|nn)\b", name)
            and (any(map(is_private, name.split("."))) or "fx.experimental" in name)
        }
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_private_names_of_pytorch_are_in_one_file(file):
    if file != ROOT / "fnet/private.py":
        assert private_names(file) == set()
