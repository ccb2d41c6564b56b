"""Measures equal what is computed by hand, and say why they have no value."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import ModelFailure
from cbt_ray.prompts import Prompts
from cbt_ray.rating.judge import Rating, rate
from cbt_ray.rating.measure import Ends, Measure, circle, ends_of, kinds_of, leaves, values
from cbt_ray.rating.scale import Item, Scale, Step
from cbt_ray.rating.scale_file import load_scale
from cbt_ray.study.rater import Judge
from tests.needs import needs
from tests.therapy.scripts import Script, as_json

MITI = load_scale(Prompts(), "miti")

# By hand: cultivating, softening, partnership, empathy; questions, simple and complex reflections
# -> technical, relational, R:Q, %CR.
TRANSCRIPTS: tuple[tuple[tuple[int, ...], tuple[float | None, ...]], ...] = (
    ((3, 3, 3, 3, 10, 6, 4), (3.0, 3.0, 1.0, 40.0)),
    ((4, 3, 5, 4, 8, 6, 10), (3.5, 4.5, 2.0, 62.5)),
    ((1, 1, 1, 1, 20, 5, 0), (1.0, 1.0, 0.25, 0.0)),
    ((5, 5, 5, 5, 4, 0, 12), (5.0, 5.0, 3.0, 100.0)),
    ((2, 3, 4, 3, 16, 3, 1), (2.5, 3.5, 0.25, 25.0)),
    ((3, 4, 2, 3, 12, 2, 1), (3.5, 2.5, 0.25, 100 / 3)),
    ((4, 4, 3, 4, 5, 4, 4), (4.0, 3.5, 1.6, 50.0)),
    ((3, 2, 2, 2, 0, 6, 2), (2.5, 2.0, None, 25.0)),
    ((2, 2, 3, 1, 9, 0, 0), (2.0, 2.0, 0.0, None)),
    ((1, 2, 1, 2, 0, 0, 0), (1.5, 1.5, None, None)),
)
ASKED = (
    "cultivating_change_talk",
    "softening_sustain_talk",
    "partnership",
    "empathy",
    "question",
    "simple_reflection",
    "complex_reflection",
)
MEASURES = ("technical", "relational", "reflections_to_questions", "percent_complex")


def judged(scale: Scale, scores: dict[str, int], **answers: Any) -> Rating:
    """A scripted judge's rating with these scores, and with other answers of some items."""
    fields = {"words": "word", "numbers": "score", "count": "count"}
    said = {
        item.id: {
            "justification": "As in turn 2.",
            fields[item.kind]: answers.get(item.id, scores.get(item.id, 0)),
        }
        for item in scale.items
    }
    judge = Judge(endpoint="script", attempts=1)
    return rate("Therapist: ...", [scale], judge, Prompts(), Script([as_json(said)]), 5)


@pytest.mark.parametrize(("scores", "expected"), TRANSCRIPTS)
def test_miti_equals_the_hand(scores: tuple[int, ...], expected: tuple[float | None, ...]) -> None:
    rating = judged(MITI, dict(zip(ASKED, scores, strict=True)))
    found = [rating.measures[name].value for name in MEASURES]
    assert found == [None if value is None else pytest.approx(value) for value in expected]
    without = [measure for measure in rating.measures.values() if measure.value is None]
    assert {measure.reason for measure in without} <= {"division_by_zero"}
    unit: dict[str, Any] = rating.to_json()
    assert unit["items"]["question"]["score"] == scores[4]
    if not scores[4]:
        nothing = {"value": None, "reason": "division_by_zero"}
        assert unit["measures"]["reflections_to_questions"] == nothing


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"question": -1}, "out_of_scale"),
        ({"question": 2.5}, "no_number"),
        ({"question": "many"}, "no_number"),
        ({"question": True}, "no_number"),
        ({"question": 10**30}, "no_number"),
        ({"question": 10**9}, "out_of_scale"),
        ({"question": None}, "no_number"),
        ({"empathy": 0}, "out_of_scale"),
        ({"empathy": 6}, "out_of_scale"),
        ({"empathy": "often"}, "no_number"),
    ],
)
def test_a_number_that_is_none_is_missing_with_its_reason(
    answers: dict[str, Any], reason: str
) -> None:
    rating = judged(MITI, dict.fromkeys(ASKED, 3), **answers)
    ((item, _),) = answers.items()
    assert (rating.items[item].score, rating.items[item].reason) == (None, reason)
    without = "reflections_to_questions" if item == "question" else "relational"
    assert rating.measures[without] == (None, "item_missing")
    assert rating.measures["technical"] == (3.0, None)


def test_a_number_may_be_text_or_have_a_decimal_point() -> None:
    rating = judged(MITI, dict.fromkeys(ASKED, 3), question=" 12 ", empathy=4.0)
    assert (rating.items["question"].score, rating.items["empathy"].score) == (12, 4)
    assert rating.items["empathy"].word is None


def test_every_answer_is_asked_for_as_its_item_is_answered() -> None:
    script = Script([as_json({})])
    with pytest.raises(ModelFailure):
        rate("T", [MITI], Judge(endpoint="script", attempts=1), Prompts(), script, 5)
    schema = script.requests[0].schema
    assert schema is not None
    properties = schema["properties"]
    assert properties["empathy"]["properties"]["score"]["enum"] == [1, 2, 3, 4, 5]
    assert properties["question"]["properties"]["count"] == {"type": "integer", "minimum": 0}
    told = script.requests[0].messages[0].content
    assert "expert in motivational interviewing" in told
    assert "question (Question): How many questions" in told
    assert "Count: 0, 1, 2" in told
    assert "Numbers from 1 to 5:\n- 1: hardly" in told


def test_the_original_range_has_anchors_of_each_item() -> None:
    scale = load_scale(Prompts(), "ctrs-0-6")
    assert len(scale.items) == 11
    assert scale.ends["total"] == (0, 66)
    for item in scale.items:
        assert [step.score for step in item.steps] == list(range(7))
        assert [bool(step.anchor) for step in item.steps] == [True, False] * 3 + [True]
    rating = judged(scale, dict.fromkeys([item.id for item in scale.items], 4))
    assert rating.measures["total"] == (44, None)


# ---- arithmetic ----------------------------------------------------------------------------------

SUBSCALES = (
    Measure("overall", "Overall", "mean", (("first", "second"),)),
    Measure("first", "First", "mean", (("a", "b"),)),
    Measure("second", "Second", "sum", (("b", "c"),), rescale=(0, 100)),
    Measure("share", "Share", "ratio", (("a",), ("a", "b")), times=100),
    Measure("fall", "Fall", "sum", (("a",),), times=-1),
)
ITEMS = {"a": Ends(0, 4), "b": Ends(1, 5), "c": Ends(1, 3)}


def test_a_measure_of_measures_by_hand() -> None:
    ends = ends_of(SUBSCALES, ITEMS)
    found = values(SUBSCALES, {"a": 1, "b": 4, "c": 2}, ends)
    assert {name: value for name, (value, _) in found.items()} == {
        "overall": (2.5 + 100 * (6 - 2) / (8 - 2)) / 2,
        "first": 2.5,
        "second": 100 * (6 - 2) / (8 - 2),
        "share": 20.0,
        "fall": -1,
    }


def test_ends_are_those_of_the_extreme_scores() -> None:
    ends = ends_of(SUBSCALES, ITEMS)
    assert ends["first"] == (0.5, 4.5)
    assert ends["second"] == (0, 100)
    assert ends["overall"] == (0.25, 52.25)
    assert ends["fall"] == (-4, 0)
    assert MITI.ends["technical"] == (1, 5)
    assert MITI.ends["reflections_to_questions"] == (0, None)


def test_counts_and_answers_of_two_steps_stay_what_they_are() -> None:
    assert MITI.kinds["question"] == MITI.kinds["mi_adherent"] == "count"
    for name in ("empathy", "technical", "reflections_to_questions", "percent_complex"):
        assert MITI.kinds[name] == "score"
    harm = Item("harm", "Harm", "Is there any?", "numbers", (Step(0, "0"), Step(1, "1")))
    items = {"harm": harm.measured, "help": harm.measured, "sighs": "count"}
    made = {
        "alone": Measure("alone", "", "sum", (("harm",),)),
        "in_percent": Measure("in_percent", "", "mean", (("harm",),), times=100),
        "both": Measure("both", "", "sum", (("harm", "help"),)),
        "twice": Measure("twice", "", "sum", (("sighs",),), times=2),
        "mixed": Measure("mixed", "", "sum", (("sighs", "harm"),)),
        "again": Measure("again", "", "sum", (("alone",),)),
    }
    assert kinds_of(tuple(made.values()), items) == items | {
        "alone": "flag",
        "in_percent": "flag",
        "both": "score",
        "twice": "score",
        "mixed": "score",
        "again": "flag",
    }


def test_what_is_made_of_what() -> None:
    assert leaves(SUBSCALES, "overall") == ["a", "b", "c"]
    assert circle(SUBSCALES) is None
    ring = (Measure("x", "X", "sum", (("y",),)), Measure("y", "Y", "mean", (("a", "x"),)))
    assert circle(ring) == ["x", "y", "x"]


# ---- published -----------------------------------------------------------------------------------


def test_act_scores_are_reproduced_without_an_error() -> None:
    path = Path(os.environ.get("CBT_RAY_PUBLISHED", "")) / "act_scores.csv"
    needs("published", "CBT_RAY_PUBLISHED" in os.environ and path.is_file())
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 900
    for name, prefix in (("act-fm", "act_fm_"), ("tes", "tes_")):
        scale = load_scale(Prompts(), name)
        for row in rows:
            scores = {item.id: int(row[prefix + item.id]) for item in scale.items}
            found = scale.values(scores)
            assert {measure: value for measure, (value, _) in found.items()} == {
                measure: float(row[prefix + measure]) for measure in found
            }
