"""The recipes of the project: they load, their licences have terms, and their memory is what
training forecasts.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from cbt_ray.llm.template import ChatTemplate
from cbt_ray.study.recipe import Recipe
from cbt_ray.study.terms import find
from cbt_ray.training.backend.forecast import forecast
from cbt_ray.training.backend.job import Job
from cbt_ray.training.mask import Window
from cbt_ray.training.start.base import Base

FILES = sorted((Path(__file__).parents[2] / "studies" / "recipes").glob("*.yaml"))


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
        r"(\d+) layers, hidden (\d+), kv (\d+), ffn (\d+), vocabulary (\d+)",
        " ".join(file.read_text().replace("# ", "").split()),
    )
    return Shape(*map(int, found.groups())) if found else None


def memory(shape: Shape, recipe: Recipe, folder: Path) -> float:
    """GiB that training forecasts for batches of the longest windows on a GPU."""
    heads = shape.hidden // 128
    config = {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
    }
    config |= {
        "num_attention_heads": heads,
        "num_key_value_heads": shape.kv // 128,
        "vocab_size": shape.vocabulary,
    }
    (folder / "config.json").write_text(json.dumps(config))
    windows = [Window("p", 1, [5] * recipe.max_length, [5] * recipe.max_length)] * recipe.batch
    base = Base(folder, "", ChatTemplate("", "", ""), None, 0, 0)
    return forecast(Job(recipe, base, windows, {}, folder, 1), cuda=True).memory_gib


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_recipe_loads_and_its_licence_allows_to_tune(file: Path) -> None:
    recipe = Recipe.model_validate(yaml.safe_load(file.read_text()))
    found = find(recipe.licence, {})
    assert found is not None
    assert found[1].derived is not None
    assert recipe.memory_gib
    assert recipe.batch * recipe.accumulation == (1 if file.stem == "smollm2" else 16)


@pytest.mark.parametrize("backend", ["trl", "unsloth"])
def test_windows_may_be_in_one_row_with_either_backend(backend: str) -> None:
    """The locked Unsloth takes `padding_free`: `configure_padding_free` in its trainer.py."""
    asked = {"start": "a", "compare": "a", "licence": "none", "batching": "padding_free"}
    assert Recipe.model_validate({**asked, "backend": backend}).batching == "padding_free"


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.stem != "smollm2"], ids=lambda file: file.stem
)
def test_memory_is_what_training_forecasts(file: Path, tmp_path: Path) -> None:
    recipe, shape = Recipe.model_validate(yaml.safe_load(file.read_text())), stated(file)
    assert shape is not None
    most = max(memory(shape, recipe.tried(tried), tmp_path) for tried in recipe.tries)
    assert recipe.memory_gib == pytest.approx(most, abs=0.05)


def test_a_sound_recipe_fits_into_24_gib() -> None:
    for name in ("llama", "mistral", "qwen"):
        recipe = Recipe.model_validate(
            yaml.safe_load(next(file for file in FILES if file.stem == name).read_text())
        )
        assert (recipe.memory_gib or 99) < 24
