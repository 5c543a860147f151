"""Imports go downward only; the layers are those of the list below, lowest first."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    [
        "tree",
        "allocator",
        "checked_json",
        "figures",
        "operation",
        "private",
        "signals",
        "startup",
        "threefry_triton",
        "throughput",
        "trace",
    ],
    ["jit", "native", "threefry"],
    ["random"],
    ["losses", "metrics", "optim", "nn"],
    ["models", "data"],
    ["step", "cuda_graph", "fetch"],
    ["loop", "environment", "evaluation", "debug", "testing"],
    ["checkpoint", "config", "display", "tables", "divergence"],
    ["rundir", "best_weights", "splits", "plots", "logging", "stored_config"],
    ["experiment", "ready"],
    ["held_out", "training_state"],
    ["progress"],
    ["trainer"],
    ["record"],
    ["run"],
    ["resume", "outcome"],
    ["report"],
    ["train"],
    ["tool", "study", "bench"],
    ["cli"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted((ROOT / "fnet").rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Return the parts of fnet that a file imports: {"tree", "optim", ...}."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            first, *rest = node.module.split(".")
            if first == "fnet":
                found |= {rest[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("fnet.")}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_downward(file):
    own = file.relative_to(ROOT / "fnet").with_suffix("").parts[0]
    if own == "__init__":
        assert not imported(file)
        return
    for other in imported(file) - {own}:
        assert LEVEL[other] < LEVEL[own], f"fnet.{own} imports fnet.{other}, which is not below it"


def test_only_tree_knows_torchs_pytrees():
    for file in FILES:
        if "_pytree" in file.read_text(encoding="utf-8"):
            assert file.is_relative_to(ROOT / "fnet" / "tree")


def test_recipes_are_not_imported_by_the_library():
    for file in FILES:
        assert "import recipes" not in file.read_text(encoding="utf-8")
