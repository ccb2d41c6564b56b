"""Lessons: a judge learns to answer its own requests with what people said."""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.prompts import Prompts
from cbt_ray.rating.judge import ItemRating, Lesson, Rating, lessons, rate
from cbt_ray.rating.scale_file import load_scale
from cbt_ray.study.rater import Judge
from tests.therapy.scripts import Script

TEXT = "Patient: I slept badly.\n\nTherapist: What went through your mind?"
SCALES = [load_scale(Prompts(), name) for name in ("ctrs", "miti")]
WAYS: dict[str, dict[str, Any]] = {
    "a call for a scale": {},
    "a call for both": {"asked": "together"},
    "a call for an item": {"items": "separately"},
    "letters alone": {"prose": "letters", "justification_chars": (20, 200)},
}


def judge(**changes: Any) -> Judge:
    return Judge(endpoint="script", scales=("ctrs", "miti"), **changes)


def people(why: str = "They agreed on it early, and kept to it.") -> Rating:
    """A score for every item of both scales, each with a reason."""
    items = {
        f"{scale.name}.{item.id}": ItemRating(
            None, item.steps[number % len(item.steps)].score if item.steps else number, why
        )
        for scale in SCALES
        for number, item in enumerate(scale.items)
    }
    return Rating(items, {}, {})


def made(given: Rating, **changes: Any) -> list[Lesson]:
    return list(lessons(TEXT, SCALES, judge(**changes), Prompts(), given))


@pytest.mark.parametrize("way", WAYS)
def test_a_judge_that_answers_as_taught_says_what_people_said(way: str) -> None:
    given, found = people(), made(people(), **WAYS[way])
    assert all(lesson.fits for lesson in found)
    script = Script([lesson.messages[-1].content for lesson in found])
    rating = rate(TEXT, SCALES, judge(**WAYS[way]), Prompts(), script, 5)
    assert [request.messages for request in script.requests] == [one.messages[:-1] for one in found]
    assert rating.useless == {}
    assert {name: (one.score, one.justification) for name, one in rating.items.items()} == {
        name: (one.score, one.justification) for name, one in given.items.items()
    }


def test_only_items_with_a_score_are_asked_for() -> None:
    agenda = people().items["ctrs.agenda"]
    (only,) = made(Rating({"ctrs.agenda": agenda}, {}, {}))
    assert "the item agenda" in only.messages[-2].content
    assert made(Rating({}, {}, {})) == []


@pytest.mark.parametrize(("score", "word"), [(3.2, "Poor"), (9.9, "Outstanding"), (0.1, "Absent")])
def test_a_score_between_two_steps_is_the_nearest(score: float, word: str) -> None:
    steps = {step.word: step.score for step in SCALES[0].items[0].steps}
    nearest = min(steps, key=lambda one: abs(steps[one] - score))
    (only,) = made(Rating({"ctrs.agenda": ItemRating(None, score, "Why so.")}, {}, {}))
    assert f'"word": "{nearest}"' in only.messages[-1].content
    assert word == nearest or word == "Absent"


def test_what_nobody_justified_is_justified_by_the_scale_and_held_to_the_bounds() -> None:
    (only,) = made(Rating({"ctrs.agenda": ItemRating(None, 1, "")}, {}, {}))
    step = SCALES[0].items[0].steps[0]
    assert f'"justification": "{step.word}' in only.messages[-1].content
    assert only.fits
    (short,) = made(Rating({"ctrs.agenda": ItemRating(None, 1, "Bad.")}, {}, {}))
    assert not short.fits
