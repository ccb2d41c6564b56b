"""The recipes of the project: they load, their licences have terms, and their memory follows the formula that they state."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from cbt_ray.study.model import Recipe
from cbt_ray.study.terms import find

FILES = sorted((Path(__file__).parents[2] / "studies" / "recipes").glob("*.yaml"))
GIB = 2**30


class Shape(NamedTuple):
    """What memory depends on; input and output embedding are apart in all of these."""

    layers: int
    hidden: int
    kv: int
    ffn: int
    vocabulary: int


def stated(file: Path) -> Shape | None:
    """The shape that a recipe's comment names."""
    found = re.search(
        r"(\d+) layers, hidden (\d+), kv (\d+), ffn (\d+), vocabulary (\d+)", " ".join(file.read_text().replace("# ", "").split())
    )
    return Shape(*map(int, found.groups())) if found else None


def memory(shape: Shape, recipe: Recipe) -> float:
    """GiB by the formula that the recipes state."""
    layers, hidden, kv, ffn, vocabulary = shape
    tokens = recipe.batch * recipe.max_length
    linear = layers * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * ffn)
    adapter = layers * recipe.lora.r * (4 * hidden + 2 * (hidden + kv) + 3 * (hidden + ffn))
    weights = linear * 0.516 + 2 * vocabulary * hidden * 4 + adapter * 10
    kept = tokens * (layers * hidden + 6 * hidden + 3 * ffn) * 4
    return (weights + kept + 256 * vocabulary * 12) / GIB + 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_recipe_loads_and_its_licence_allows_to_tune(file: Path) -> None:
    recipe = Recipe.model_validate(yaml.safe_load(file.read_text()))
    found = find(recipe.licence, {})
    assert found is not None
    assert found[1].derived is not None
    assert recipe.memory_gib
    assert recipe.batch * recipe.accumulation == (1 if file.stem == "smollm2" else 16)


@pytest.mark.parametrize("file", [file for file in FILES if file.stem != "smollm2"], ids=lambda file: file.stem)
def test_memory_follows_the_stated_formula(file: Path) -> None:
    recipe, shape = Recipe.model_validate(yaml.safe_load(file.read_text())), stated(file)
    assert shape is not None
    assert recipe.memory_gib == pytest.approx(memory(shape, recipe), abs=0.05)


def test_a_sound_recipe_fits_into_24_gib() -> None:
    for name in ("llama", "mistral", "qwen"):
        recipe = Recipe.model_validate(yaml.safe_load(next(file for file in FILES if file.stem == name).read_text()))
        assert (recipe.memory_gib or 99) < 24
