"""The import of recipes: named by the user, or recorded by a run."""

import importlib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from fnet.run.config import ConfigError
from fnet.run.origin import Origin, of_file
from fnet.run.recipe import Recipe


def load_recipe(module: str) -> Recipe:
    """Import the module that the user names, and return its `RECIPE`.

    Args:
        module: the name of the module, or the path of its file, which ends in `.py`.

    Raises:
        ConfigError: there is no such module, or it has no `RECIPE`.
    """
    file = module.endswith(".py")
    try:
        found = _import_file(module) if file else importlib.import_module(module)
    except (ImportError, ValueError, TypeError, OSError) as error:
        raise ConfigError(
            f"the recipe {module!r} cannot be imported ({error}): give --recipe a module on "
            "Python's path, or a file that ends in .py"
        ) from error
    recipe = getattr(found, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"the module {module!r} has no RECIPE: give the module of a recipe")
    if file and recipe.origin.name == found.__name__:
        return replace(recipe, origin=of_file(module))
    return recipe


def _import_file(file: str) -> Any:
    """Import a file as a module with a unique name, and return the module."""
    path = Path(file).resolve()
    name = f"fnet_recipe:{path}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # `dataclasses` looks up the module of a class here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def own_recipe(origin: Origin, path: Path) -> Recipe:
    """Return the recipe recorded by a run; a record can only cause imports from `recipes`.

    Args:
        origin: the recorded origin.
        path: the run directory, for the message.

    Raises:
        ConfigError: the module is not in `recipes`, or there is no such recipe.
    """
    if not origin.packaged:
        raise ConfigError(
            f"the recipe of the run {path} is {origin.name!r}, and without --recipe only modules "
            f"of recipes.* are imported: if you trust that code, give{origin.recipe_option}"
        )
    return load_recipe(origin.name)


def is_recipe_of(recipe: Recipe, origin: Origin) -> bool:
    """Return whether a run with this recorded origin is a run of the recipe.

    Older versions recorded every recipe as `recipes.NAME`. If there is no module of that name in
    `recipes`, the run belongs to the recipe of that name in another place.
    """
    if recipe.origin.same_place(origin):
        return True
    if recipe.origin.packaged or origin.name != f"recipes.{recipe.name}" or not origin.packaged:
        return False
    try:
        return importlib.util.find_spec(origin.name) is None
    except ImportError:
        return True
