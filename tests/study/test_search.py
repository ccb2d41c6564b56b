"""A search in a recipe: which candidates it makes, how they are called, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.study import Study, load_study
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.recipe import Recipe
from tests.study.example import example_study, loaded, write_study

MADE = Checkpoint("smollm2", True)


def study_of(search: Any, **recipe: Any) -> Study:
    fields = {f"models__smollm2__recipe__{name}": value for name, value in recipe.items()}
    return loaded(models__smollm2__recipe__search=search, **fields)


def recipes(study: Study) -> list[Recipe]:
    return [study.recipe_of(one) for one in study.candidates(MADE)]


def test_candidates_are_all_combinations_in_the_order_of_the_file() -> None:
    study = study_of({"epochs": [1, 3], "learning_rate": [2e-4, 1e-4], "rank": [16, 32]})
    found = [(one.learning_rate, one.lora.r, one.epochs) for one in recipes(study)]
    assert found == [(rate, r, e) for rate in (2e-4, 1e-4) for r in (16, 32) for e in (1, 3)]
    assert {one.lora.alpha / one.lora.r for one in recipes(study)} == {1}
    assert {one.search for one in recipes(study)} == {None}


def test_a_candidate_is_called_by_what_differs_from_the_recipe() -> None:
    study = study_of({"learning_rate": [1e-4, 2e-4, 1e-5], "rank": [8, 16]})
    names = [one.id for one in study.candidates(MADE)]
    assert names == [
        "smollm2-tuned-lr0.0001-r8",
        "smollm2-tuned-lr0.0001",
        "smollm2-tuned-r8",
        "smollm2-tuned",
        "smollm2-tuned-lr1e-05-r8",
        "smollm2-tuned-lr1e-05",
    ]
    again = study.candidates(MADE._replace(seed=1))[0]
    assert (again.id, study.recipe_of(again).seed) == ("smollm2-tuned-t1-lr0.0001-r8", 3408)
    assert again.title == "smollm2 tuned, seed + 1, learning rate 0.0001, rank 8"


def test_without_a_search_a_model_is_its_only_candidate() -> None:
    study = loaded()
    assert study.candidates(MADE) == [MADE]
    assert study.recipe_of(MADE) == study.models["smollm2"].recipe


def test_alpha_follows_the_rank() -> None:
    study = study_of({"rank": [4, 48]}, lora={"r": 32, "alpha": 8})
    assert [(one.lora.r, one.lora.alpha) for one in recipes(study)] == [(4, 1), (48, 12)]


@pytest.mark.parametrize(
    ("search", "changes", "said"),
    [
        ({}, {}, ": expected values of learning_rate, rank or epochs, none given"),
        ({"rank": []}, {}, ".rank: expected at least 1 of them, found 0"),
        ({"epochs": [1, 2.5, 1.0]}, {}, ".epochs: expected each value once, found 1 twice"),
        ({"learning_rate": [0]}, {}, ".learning_rate.0: expected at least 1e-12"),
        ({"learning_rate": [11]}, {}, ".learning_rate.0: expected at most 10"),
        ({"learning_rate": 1e-4}, {}, ".learning_rate: expected a list"),
        ({"rank": [8, 2.5]}, {}, ".rank.1: expected a whole number, found 2.5"),
        ({"rank": [8, True]}, {}, ".rank.1: expected a number, found true"),
        ({"r": [8]}, {}, ".r: unknown field, expected one of epochs, learning_rate, rank"),
        (
            {"rank": [*range(1, 7)], "learning_rate": [*range(1, 7)]},
            {},
            ".learning_rate: expected at most 32 combinations, found 36",
        ),
        (
            {"rank": [8, 3]},
            {"lora": {"r": 16, "alpha": 8}},
            ".rank.1: expected a rank for which alpha / r, 8 / 16, gives a whole alpha of at most "
            "65,536, found 3",
        ),
        ({"epochs": [1, 2]}, {"max_steps": 9}, ".epochs: expected none with max_steps"),
        (
            {"rank": [8]},
            {"method": "orpo", "preferences": "a.jsonl"},
            ": expected none with `method: orpo`",
        ),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    search: Any, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    fields = {f"models__smollm2__recipe__{name}": value for name, value in changes.items()}
    document = example_study(models__smollm2__recipe__search=search, **fields)
    file = write_study(tmp_path, document)
    with pytest.raises(InputError) as caught:
        load_study(file)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f"{file}: models.smollm2.recipe.search{said}")


def test_a_search_needs_text_that_is_held_out_and_nothing_is_judged_by(tmp_path: Path) -> None:
    searched: dict[str, Any] = {"models__smollm2__recipe__search": {"rank": [8]}}
    unseen = example_study(**searched, dataset={"held_out": 0, "test": 0.3})
    with pytest.raises(InputError, match=r"recipe\.search: expected dataset\.held_out above 0"):
        load_study(write_study(tmp_path, unseen))
    learner = example_study(
        **searched,
        models__smollm2__learns={"ratings": "experts"},
        raters__experts={"kind": "people", "scales": ["ctrs"]},
    )
    with pytest.raises(InputError, match=r"recipe\.search: expected none, since what learns"):
        load_study(write_study(tmp_path, learner))
