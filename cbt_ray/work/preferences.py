"""A recipe's file of preference pairs: beside the study file, or in the store, where `submit`
brings it for the cluster's pods.

<study>/preferences/<sha256>-<name>    `store:<sha256>-<name>` in the study file that the pods read
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from cbt_ray.errors import InputError
from cbt_ray.llm.gguf_file import file_identity
from cbt_ray.reading import located
from cbt_ray.store import Blob, Store
from cbt_ray.study import Study
from cbt_ray.study.recipe import PAIRS_IN_STORE, Recipe, pairs_of


def identity(study: Study, recipe: Recipe) -> str | None:
    """The SHA-256 of a recipe's file of pairs, None where it names none.

    InputError where their file cannot be read.
    """
    file = _beside(study, recipe)
    if file is not None:
        return file_identity(file)
    named = recipe.preferences or ""
    if not named.startswith(PAIRS_IN_STORE):
        return None
    return named.removeprefix(PAIRS_IN_STORE).partition("-")[0]


def check(study: Study, recipe: Recipe) -> None:
    """Raise InputError where the file beside the study file holds no pairs.

    What lies in the store was checked before.
    """
    file = _beside(study, recipe)
    if file is not None:
        from cbt_ray.training.preference import read_preferences

        read_preferences(file)


def bring(study: Study, store: Store, recipe: Recipe, local: Callable[[Blob], Path]) -> Path | None:
    """The file on this machine, where `local` brings what lies in the store.

    Raises InputError where the store has none.
    """
    file = _beside(study, recipe)
    if file is not None or recipe.preferences is None or pairs_of(recipe) is not None:
        return file
    size = _size(study, store, recipe.preferences)
    return local(Blob(_path(study, recipe.preferences), str(identity(study, recipe)), size))


def send(study: Study, store: Store, model: str) -> None:
    """Bring the file of a model's pairs into the store, unless it is there.

    Raises InputError where it should be and is not.
    """
    recipe = study.models[model].recipe
    file, named = _beside(study, recipe), in_store(study, recipe)
    if named is None or pairs_of(recipe) is not None:
        return
    if file is None:
        _size(study, store, named)
        return
    blob = Blob(_path(study, named), str(identity(study, recipe)), file.stat().st_size)
    if not store.holds(blob):
        store.upload(file, blob.path, blob.sha256)


def in_store(study: Study, recipe: Recipe) -> str | None:
    """What `preferences` says in a study file for pods; None where a recipe has none."""
    file = _beside(study, recipe)
    if file is None:
        return recipe.preferences
    name = re.sub(r"[^\w.-]", "_", file.name, flags=re.ASCII)
    return f"{PAIRS_IN_STORE}{identity(study, recipe)}-{name}"


def _beside(study: Study, recipe: Recipe) -> Path | None:
    """The file beside the study file; None where there are no pairs, the study makes them, or they
    lie in the store.
    """
    if recipe.preferences is None or pairs_of(recipe) is not None:
        return None
    if recipe.preferences.startswith(PAIRS_IN_STORE):
        return None
    return located(recipe.preferences, study.file.parent)


def _size(study: Study, store: Store, named: str) -> int:
    path = _path(study, named)
    size = store.size(path)
    if size is None:
        raise InputError(
            f"expected a file that `submit` brought into the store, there is no {path}"
        )
    return size


def _path(study: Study, named: str) -> str:
    return f"{study.study}/preferences/{named.removeprefix(PAIRS_IN_STORE)}"
