"""Training seeds: a model that is trained several times makes an arm's sessions with each
checkpoint, and one that is trained once is as it was.
"""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.planning.estimate import estimate
from cbt_ray.prompts import Prompts
from cbt_ray.study import Study
from cbt_ray.study.licence import published_name
from cbt_ray.study.model import Checkpoint
from cbt_ray.unit import Stage
from cbt_ray.work.keys import Keys
from cbt_ray.work.probed import probed_places
from tests.study.example import loaded

ARMS = [
    {"name": "plain", "model": "smollm2", "endpoint": "made"},
    {"name": "tuned", "model": "smollm2", "tuned": True, "endpoint": "made"},
]
BASE: dict[str, Any] = {
    "imported": ...,
    "analysis": ...,
    "arms": ARMS,
    "endpoints__made": {"kind": "llama_cpp", "gguf": "finetuned"},
    "endpoints__script__licence": "Apache-2.0",
}


def study_of(seeds: int, **changes: Any) -> Study:
    return loaded(**BASE | {"models__smollm2__seeds": seeds} | changes)


def keys_of(seeds: int, **changes: Any) -> Keys:
    return Keys(study_of(seeds, **changes), Prompts())


def test_each_seed_makes_a_checkpoint_and_sessions_of_its_own() -> None:
    keys = keys_of(2)
    assert keys.models == [
        Checkpoint("smollm2", False),
        Checkpoint("smollm2", True),
        Checkpoint("smollm2", True, 1),
    ]
    made = [keys.model(one) for one in keys.models]
    assert [key.id for key in made] == ["smollm2-instruct", "smollm2-tuned", "smollm2-tuned-t1"]
    chains = [(arm.name, seed) for arm, _, _, seed in keys.chains()]
    assert chains == [("plain", 0), ("tuned", 0), ("tuned", 1)]
    sessions = keys.all()[Stage.SESSIONS]
    assert [key.id for key in sessions] == [
        f"{arm}.teresa-lindqvist.{chain}.s0{number}"
        for arm, chain in (("plain", "r1"), ("tuned", "r1"), ("tuned", "r1t1"))
        for number in (1, 2)
    ]
    assert len({key.h16 for key in sessions}) == len(sessions)
    for (_, _, _, seed), number in zip(keys.chains()[1:], (1, 2), strict=True):
        chain = keys.chain(*keys.chains()[number])
        assert made[1 + seed] in keys.inputs(chain[0])


def test_more_seeds_keep_what_is_made_and_one_is_as_it_was() -> None:
    once, twice = keys_of(1).all(), keys_of(2).all()
    unsaid = Keys(loaded(**BASE), Prompts()).all()
    assert unsaid == once
    for stage in (
        Stage.COURSES,
        Stage.DATASET,
        Stage.ADAPTER,
        Stage.MODEL,
        Stage.SESSIONS,
        Stage.RATINGS,
    ):
        assert set(once[stage]) <= set(twice[stage]), stage
    assert once[Stage.ANALYSIS] != twice[Stage.ANALYSIS]


def test_a_checkpoint_is_what_the_recipe_with_its_seed_makes() -> None:
    study = study_of(3)
    seeds = [study.recipe_of(one).seed for one in Keys(study, Prompts()).tuned]
    assert seeds == [3407, 3408, 3409]


def test_the_plan_counts_the_sessions_of_every_checkpoint() -> None:
    def calls(seeds: int) -> dict[Stage, float]:
        found: dict[Stage, float] = {}
        for one in estimate(study_of(seeds)):
            found[one.stage] = found.get(one.stage, 0) + one.calls
        return found

    once, thrice = calls(1), calls(3)
    assert once[Stage.COURSES] == thrice[Stage.COURSES]
    assert thrice[Stage.SESSIONS] == 2 * once[Stage.SESSIONS], "1 + 1 chains, then 1 + 3"
    assert thrice[Stage.RATINGS] == 2 * once[Stage.RATINGS]


def test_the_judge_is_probed_with_the_first_checkpoint() -> None:
    probes = {"raters__judge__probes": {"which": ["empty"], "sessions": 1}}
    once, thrice = keys_of(1, **probes), keys_of(3, **probes)
    assert len(probed_places(thrice.study)) == 1
    assert [key.id for key in once.donors] == [key.id for key in thrice.donors]


@pytest.mark.parametrize(
    ("seed", "name"), [(0, "small-smollm2-tuned"), (2, "small-smollm2-tuned-t2")]
)
def test_each_checkpoint_is_published_under_its_own_name(seed: int, name: str) -> None:
    assert published_name(study_of(3), Checkpoint("smollm2", True, seed)) == name
