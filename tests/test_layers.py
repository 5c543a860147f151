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
