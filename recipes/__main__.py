"""The list of all experiments and tools, with one line each: `python -m recipes`."""

import ast
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fnet.run.process import output_failed


def modules() -> dict[str, tuple[str, bool]]:
    """Return, for each command, the first line of its docstring and whether it is a tool."""
    found = {}
    folder = Path(__file__).parent
    modules = {path.stem: path for path in folder.glob("*.py") if path.stem != "__main__"}
    packages = {path.parent.name: path for path in folder.glob("*/__main__.py")}
    for name, path in sorted({**modules, **packages}.items()):
        source = path.read_text(encoding="utf-8")
        # Parsed, not imported, so that the list is fast.
        if '__name__ == "__main__"' in source:
            line = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
            # An experiment is somebody's; finetune is a recipe, and a tool.
            found[name] = (line, '"author": ' not in source)
    return found


def main() -> None:
    """Print the list."""
    console = Console()
    for title, tools in (("Experiments", False), ("Tools", True)):
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for name, (line, is_tool) in modules().items():
            if is_tool == tools:
                command = Text(f"python -m recipes.{name}", "bold", no_wrap=True)
                # On a narrow terminal, the description is below the command.
                for row in [(command, line)] if console.width >= 60 else [(command,), (line,)]:
                    table.add_row(*row)
        console.print(table)
        console.print()
    console.print("Options of each: --help. Variants of an experiment: --variant NAME.")


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except OSError as error:
        if not output_failed():
            raise
        if isinstance(error, BrokenPipeError):  # nobody reads on
            sys.exit(1)
        print(f"error: cannot write to standard output: {error.strerror}", file=sys.stderr)
        sys.exit(2)
