"""Arms of a study file: their factors, what is compared, and what an arm needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cbt_ray.study import Study, load_study
from cbt_ray.study.confound import beside, confounds, family_of, told
from cbt_ray.study.load import examine
from cbt_ray.study.scheduled import checkpoints, needs_courses
from tests.study.example import COURSES, example_study, loaded, write_study

PROMPTS = [{"name": "plain"}, {"name": "socratic", "prompt": "socratic.j2"}]
TRAINS = {"imported": ..., "analysis": ...}
UNTRAINED: dict[str, Any] = {
    **dict.fromkeys(("patients__training", "courses", "models", "phases", "imported"), ...),
    "roles__generator": ...,
    "analysis": ...,
}
LARGE = {"kind": "litellm", "model": "openai/qwen3-32b", "api_base": "http://one/v1"}
MADE = {"kind": "llama_cpp", "gguf": "finetuned"}


def problems(tmp_path: Path, **changes: Any) -> list[str]:
    """What is wrong with the example, changed."""
    file = write_study(tmp_path, example_study(**changes))
    return [one.removeprefix(f"{file}: ") for one in examine(file).problems]


def prompts(**changes: Any) -> Study:
    """A study of two prompts, without a block of training."""
    return loaded(**UNTRAINED | {"arms": PROMPTS} | changes)


def test_two_prompts_need_nothing_of_training() -> None:
    study = prompts()
    assert (needs_courses(study), checkpoints(study)) == (False, [])
    assert study.factors == {
        "plain": {"prompt": "therapist"},
        "socratic": {"prompt": "socratic"},
    }
    assert [(one.name, one.plus, one.minus) for one in study.contrasts] == [
        ("prompt", {"prompt": "socratic"}, {"prompt": "therapist"})
    ]


def test_factors_are_derived_from_what_differs() -> None:
    cold = {"temperature": 0.1}
    study = prompts(
        endpoints__large=LARGE,
        arms=[
            {"name": "one"},
            {"name": "two", "endpoint": "large"},
            {"name": "three", "endpoint": "large", "sampling": cold},
        ],
        analysis={"contrasts": []},
    )
    assert study.factors == {
        "one": {"model": "script", "sampling": "temperature 0.7"},
        "two": {"model": "large", "sampling": "temperature 0.7"},
        "three": {"model": "large", "sampling": "temperature 0.1"},
    }


def test_one_model_at_two_servers_differs_in_the_endpoint() -> None:
    study = loaded(
        **TRAINS,
        endpoints__large=LARGE,
        arms=[
            {"name": "tuned", "model": "smollm2", "tuned": True},
            {"name": "plain", "model": "smollm2", "endpoint": "large"},
        ],
    )
    assert study.factors["tuned"] == {"variant": "tuned", "endpoint": "script"}
    assert [one.name for one in study.contrasts] == ["variant"]


def test_declared_factors_count_alone() -> None:
    arms = [{**arm, "factors": {"style": name}} for arm, name in zip(PROMPTS, "ab", strict=True)]
    study = prompts(arms=arms)
    assert study.factors == {"plain": {"style": "a"}, "socratic": {"style": "b"}}
    assert [one.name for one in study.contrasts] == ["style"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a factor that another arm lacks": (
        {"arms": [{**PROMPTS[0], "factors": {"style": "a"}}, PROMPTS[1]]},
        "arms.1.factors: expected the factors of the other arms, too; style is missing",
    ),
    "one arm": (
        {"arms": PROMPTS[:1]},
        "analysis.contrasts: expected arms that differ in something, or `contrasts: []` where the "
        "study only describes",
    ),
    "two factors": (
        {"arms": [PROMPTS[0], {**PROMPTS[1], "sampling": {"temperature": 0.1}}]},
        "analysis.contrasts: expected what is compared, since the arms differ in prompt, sampling; "
        "name it, such as `- {name: prompt, plus: {prompt: socratic}, minus: {prompt: "
        "therapist}}`, or `contrasts: []` where the study only describes",
    ),
    "an unknown level": (
        {
            "analysis": {
                "contrasts": [{"name": "c", "plus": {"prompt": "best"}, "minus": {"prompt": "x"}}]
            }
        },
        "analysis.contrasts.0.plus.prompt: expected one of ['therapist', 'socratic'], found 'best'",
    ),
    "a tuned arm without a model": (
        {"arms": [PROMPTS[0], {"name": "tuned", "tuned": True}]},
        "arms.1.model: expected the one under `models` that is tuned",
    ),
    "our GGUF without a model": (
        {"endpoints__made": MADE, "arms": [PROMPTS[0], {"name": "made", "endpoint": "made"}]},
        "arms.1.model: expected one under `models`, of which the `finetuned` model is made",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compared_is_refused_when_it_is_read(name: str, tmp_path: Path) -> None:
    changes, said = REFUSED[name]
    assert said in problems(tmp_path, **UNTRAINED | {"arms": PROMPTS} | changes)


def test_a_study_that_says_that_it_only_describes_is_taken(tmp_path: Path) -> None:
    only = UNTRAINED | {"arms": PROMPTS[:1], "analysis": {"contrasts": []}}
    assert problems(tmp_path, **only) == []
    assert loaded(**only).contrasts == ()


def test_all_that_a_tuned_arm_needs_is_asked_for_at_once(tmp_path: Path) -> None:
    arms = [
        {"name": "plain", "model": "smollm2"},
        {"name": "tuned", "model": "smollm2", "tuned": True},
    ]
    lacking = {name: value for name, value in UNTRAINED.items() if name != "models"}
    assert problems(tmp_path, **lacking, arms=arms) == [
        f"{field}: expected one, since tuned is tuned on courses"
        for field in ("patients.training", "courses", "roles.generator", "phases")
    ]


def test_imported_courses_belong_to_a_study_that_trains_nothing() -> None:
    assert needs_courses(loaded(imported=COURSES))


def test_several_checkpoints_need_a_server_of_each(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "endpoints__large": LARGE,
        "models__smollm2__seeds": 3,
        "arms": [{"name": "t", "model": "smollm2", "tuned": True, "endpoint": "large"}],
    }
    assert (
        "arms.0.endpoint: expected one that is `finetuned`, since a server's model is one "
        "checkpoint and models.smollm2.seeds is 3"
    ) in problems(tmp_path, **changes)


# ---- confounds -----------------------------------------------------------------------------------


def test_what_differs_besides_the_factor_is_named_with_both_values() -> None:
    study = prompts(
        endpoints__large=LARGE,
        arms=[
            PROMPTS[0],
            {**PROMPTS[1], "endpoint": "large", "sampling": {"temperature": 0.1}},
        ],
        analysis={
            "contrasts": [
                {
                    "name": "style",
                    "plus": {"prompt": "socratic"},
                    "minus": {"prompt": "therapist"},
                }
            ]
        },
    )
    found = {one.what: one.values for one in confounds(study)}
    assert found == {
        "model": ("openai/qwen3-32b", "a script"),
        "temperature": ("0.1", "0.7"),
        "served by": ("a server", "a script"),
    }
    assert told(study) == [
        "style: socratic and plain also differ in model (openai/qwen3-32b; a script), temperature "
        "(0.1; 0.7), served by (a server; a script)"
    ]


def test_two_models_of_two_providers_are_confounded_by_nothing() -> None:
    study = prompts(
        endpoints__one={"kind": "litellm", "model": "openai/gpt-5"},
        endpoints__other={"kind": "litellm", "model": "anthropic/claude-opus"},
        arms=[{"name": "one", "endpoint": "one"}, {"name": "other", "endpoint": "other"}],
    )
    assert [one.name for one in study.contrasts] == ["model"]
    assert confounds(study) == []


@pytest.mark.parametrize("factors", [{}, {"style": "own"}])
def test_the_one_thing_that_differs_is_what_is_compared(factors: dict[str, str]) -> None:
    arms = [{**arm, "factors": dict.fromkeys(factors, arm["name"])} for arm in PROMPTS]
    assert confounds(prompts(arms=arms)) == []


def test_a_name_of_ones_own_for_two_things_that_differ_confounds_both() -> None:
    arms = [
        {"name": "a", "factors": {"style": "a"}},
        {
            "name": "b",
            "prompt": "b.j2",
            "sampling": {"top_p": 0.5},
            "factors": {"style": "b"},
        },
    ]
    assert {one.what for one in confounds(prompts(arms=arms))} == {"prompt", "top_p"}


def tuned_study(**changes: Any) -> Study:
    """A tuned arm beside the model that it was tuned from, both from our GGUF."""
    arms = [
        {"name": "plain", "model": "smollm2", "endpoint": "made"},
        {"name": "tuned", "model": "smollm2", "tuned": True, "endpoint": "made"},
    ]
    return loaded(**TRAINS | {"arms": arms, "endpoints__made": MADE} | changes)


def test_tuning_from_the_model_that_is_compared_is_confounded_by_nothing() -> None:
    assert confounds(tuned_study()) == []


def test_the_sound_study_is_confounded_by_one_session_a_patient_alone() -> None:
    (line,) = told(load_study("studies/act.yaml"))
    assert line.startswith("each patient has one session in each arm")


@pytest.mark.parametrize(
    ("dataset", "keep", "told_of"),
    [
        ({"held_out": 0, "test": 0.2}, "best", True),
        ({"held_out": 0, "test": 0.2}, "last", False),
        ({"held_out": 0.1, "test": 0.2}, "best", False),
    ],
)
def test_an_epoch_that_the_test_chose_is_named(
    dataset: dict[str, float], keep: str, told_of: bool
) -> None:
    study = tuned_study(dataset=dataset, models__smollm2__recipe__keep=keep)
    lines = [line for line in beside(study) if "its epoch is chosen by the loss on the" in line]
    assert len(lines) == told_of
    assert all(line.startswith("smollm2: ") for line in lines)
    assert set(lines) <= set(told(study))


def test_an_epoch_that_the_test_chose_is_named_of_tuned_models_alone() -> None:
    arms = [{"name": "plain", "model": "smollm2", "endpoint": "made"}]
    own = {"dataset": {"held_out": 0, "test": 0.2}, "models__smollm2__recipe__keep": "best"}
    study = tuned_study(arms=arms, analysis__contrasts=[], imported=COURSES, **own)
    assert not [line for line in beside(study) if "its epoch is chosen" in line]


def test_a_recipe_that_keeps_another_epoch_differs_in_that() -> None:
    recipe = tuned_study().models["smollm2"].recipe.model_dump()
    arms = [
        {"name": name, "model": name, "tuned": True, "endpoint": "made", "factors": {"style": name}}
        for name in ("smollm2", "other")
    ]
    other = {"recipe": recipe | {"keep": "best", "learning_rate": 1e-3}}
    found = confounds(tuned_study(arms=arms, models__other=other))
    assert {one.what for one in found} == {"recipe's keep", "recipe's learning_rate"}


def test_what_the_published_study_compared_besides_is_named() -> None:
    lines = told(load_study("studies/act-published.yaml"))
    of_sft = next(line for line in lines if line.startswith("orpo-sft: orpo-reasoned"))
    for what in ("temperature", "teacher", "learning_rate", "schedule", "batch"):
        assert f"{what} (" in of_sft, what
    assert "prompt in training (reasoned; reasoned_early)" in of_sft
    engine = next(line for line in lines if line.startswith("orpo-instruct: orpo-plain"))
    assert "served by (llama.cpp" in engine
    assert "sft-reasoned is asked with reasoned.j2 and was trained with reasoned_early.j2" in lines
    assert [line.partition(":")[0] for line in lines[-2:]] == [
        "each patient has one session in each arm",
        "sft-reasoned, sft-plain, orpo-reasoned, orpo-plain",
    ]


def test_another_base_is_a_confound_of_tuning() -> None:
    study = tuned_study(models__smollm2__recipe__compare="other/base")
    assert [one.what for one in confounds(study)] == ["model"]


def test_two_tuned_models_are_confounded_by_how_they_were_tuned() -> None:
    recipe = example_study()["models"]["smollm2"]["recipe"]
    study = tuned_study(
        models__other={
            "recipe": {**recipe, "learning_rate": 1e-5, "quantization": "f16"},
            "seeds": 2,
        },
        arms__0={"name": "plain", "model": "other", "tuned": True, "endpoint": "made"},
    )
    assert [one.name for one in study.contrasts] == ["model"]
    assert {one.what for one in confounds(study)} == {
        "quantization",
        "recipe's learning_rate",
        "training seeds",
    }


def test_a_judge_of_the_family_of_one_side_is_a_confound() -> None:
    study = tuned_study(
        endpoints__large=LARGE,
        raters__judge__endpoint="large",
        roles__generator__endpoint="large",
    )
    (found,) = confounds(study)
    assert found.what == "relation to the judge, a qwen"
    assert found.values == ("teacher is of its family", "none is of its family")


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("openrouter/deepseek/deepseek-chat", "deepseek"),
        ("openai/o3-mini", "gpt"),
        ("hosted_vllm/openai/gpt-oss-120b", "gpt"),
        ("unsloth/Meta-Llama-3.1-8B-bnb-4bit", "llama"),
        ("mistralai/Mixtral-8x7B", "mistral"),
        ("openai/my-model", None),
        ("a script", None),
    ],
)
def test_family_of_a_model(model: str, family: str | None) -> None:
    assert family_of(model) == family
