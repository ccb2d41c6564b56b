"""Contrasts: which arms make a pair, what is asked by default, what cannot be answered."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cbt_ray.study.contrast import Contrast, Levels, default_contrasts, pairs, unanswered

THREE: dict[str, Levels] = {
    "tuned": {"variant": "tuned", "prompt": "a"},
    "plain": {"variant": "instruct", "prompt": "a"},
    "other": {"variant": "instruct", "prompt": "b"},
}
SIX: dict[str, Levels] = {
    f"{model}-{kind}": {"model": model, "variant": kind}
    for model in ("mistral", "qwen", "llama")
    for kind in ("instruct", "tuned")
}
TUNING = Contrast(name="tuning", plus={"variant": "tuned"}, minus={"variant": "instruct"})


def arms_of(contrast: Contrast, arms: dict[str, Levels]) -> list[tuple[str, str, str]]:
    return [(pair.plus, pair.minus, pair.label) for pair in pairs(contrast, arms)]


def test_arms_that_differ_in_one_thing_are_never_pooled() -> None:
    assert arms_of(TUNING, THREE) == [
        ("tuned", "plain", "tuned - plain"),
        ("tuned", "other", "tuned - other"),
    ]


def test_pairs_share_the_levels_of_the_factors_that_vary_on_both_sides() -> None:
    assert arms_of(TUNING, SIX) == [
        (f"{model}-tuned", f"{model}-instruct", model) for model in ("mistral", "qwen", "llama")
    ]


def test_pairs_of_one_level_are_told_apart_by_their_arms() -> None:
    arms = {**SIX, "again": {"model": "qwen", "variant": "instruct"}}
    labels = [pair.label for pair in pairs(TUNING, arms)]
    assert labels == [
        "mistral",
        "qwen: qwen-tuned - qwen-instruct",
        "qwen: qwen-tuned - again",
        "llama",
    ]


def test_within_nothing_every_arm_meets_every_other() -> None:
    across = TUNING.model_copy(update={"within": ()})
    assert len(pairs(across, SIX)) == 9


def test_by_default_the_tuned_are_compared_with_the_others_and_among_themselves() -> None:
    first, *second = default_contrasts(SIX)
    assert (dict(first.plus), dict(first.minus)) == ({"variant": "tuned"}, {"variant": "instruct"})
    assert [(one.name, one.family) for one in second] == [
        (f"model-{number}", "secondary") for number in (1, 2, 3)
    ]
    assert arms_of(second[0], SIX) == [
        ("mistral-tuned", "qwen-tuned", "mistral-tuned - qwen-tuned")
    ]


@pytest.mark.parametrize(
    ("arms", "asked"),
    [
        ({"a": {"prompt": "x"}, "b": {"prompt": "y"}}, [({"prompt": "y"}, {"prompt": "x"})]),
        ({"a": {"prompt": "x"}, "b": {"prompt": "y"}, "c": {"prompt": "z"}}, []),
        ({"a": {"prompt": "x", "heat": "1"}, "b": {"prompt": "y", "heat": "2"}}, []),
        ({"a": {}}, []),
    ],
)
def test_the_one_factor_of_two_levels_is_asked_for_and_nothing_where_it_is_not_clear(
    arms: dict[str, Levels], asked: list[tuple[Levels, Levels]]
) -> None:
    assert [(one.plus, one.minus) for one in default_contrasts(arms)] == asked


def test_names_of_default_contrasts_differ_however_long_a_factor_is() -> None:
    long = "f" * 31
    arms = {
        f"{kind}-{level}": {"variant": kind, long: level}
        for kind in ("tuned", "instruct")
        for level in ("a", "b", "c")
    }
    names = [one.name for one in default_contrasts(arms)]
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"plus": {"variant": "best"}, "minus": {"style": "a"}},
            "minus: expected levels of the same factors as plus",
        ),
        ({"plus": {"variant": "tuned"}, "minus": {"variant": "tuned"}}, "expected other levels"),
        (
            {"plus": {"a": "1"}, "minus": {"a": "2"}, "within": ["a"]},
            "within: expected other factors than the one compared, found 'a'",
        ),
    ],
)
def test_a_contrast_without_sense_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        Contrast(name="c", **fields)
    assert said in str(error.value)


def test_all_that_the_arms_do_not_answer_is_said() -> None:
    asked = Contrast(
        name="c",
        plus={"variant": "best", "style": "x"},
        minus={"variant": "instruct", "style": "y"},
        within=("patient",),
    )
    said = [*unanswered(asked, THREE)]
    assert said == [
        "plus.variant: expected one of ['tuned', 'instruct'], found 'best'",
        "plus.style: expected one of the factors ['prompt', 'variant'], found 'style'",
        "minus.style: expected one of the factors ['prompt', 'variant'], found 'style'",
        "within: expected factors of ['prompt', 'variant'], found 'patient'",
    ]


def test_levels_that_no_arm_has_together_and_sides_that_never_meet_are_said() -> None:
    together = Contrast(
        name="c",
        plus={"variant": "tuned", "prompt": "b"},
        minus={"variant": "instruct", "prompt": "b"},
    )
    assert "plus: expected levels that an arm has together" in next(unanswered(together, THREE))
    apart = Contrast(name="c", plus={"prompt": "b"}, minus={"prompt": "a"}, within=("variant",))
    lone: dict[str, Levels] = {"tuned": THREE["tuned"], "other": THREE["other"]}
    assert [*unanswered(apart, lone)] == ["within: expected levels that both sides have"]
