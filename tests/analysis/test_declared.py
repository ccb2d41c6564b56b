"""Declared before the first rating, or post hoc: by field, with the sections that rest on it."""

from typing import Any

from cbt_ray.analysis.declared import EVERYTHING, Declaration, differences, notices, standing

PLAN: dict[str, Any] = {
    "analysis": {"level": 0.95, "unrated": "missing"},
    "flags": {"repetition": 0.5},
    "judge": {"probes": {"sessions": 4}},
}
FIRST = "2026-11-24T10:00:00+00:00"


def at(hour: int, content: dict[str, Any] = PLAN, h16: str = "aa") -> Declaration:
    return Declaration(f"2026-11-24T{hour:02}:00:00+00:00", h16, content)


def test_declared_before_the_first_rating_is_not_post_hoc() -> None:
    section = standing([at(9)], "aa", PLAN, FIRST, imported=False)
    assert (section["before_first_rating"], section["post_hoc"], section["declared_at"]) == (True, [], at(9).declared_at)
    assert notices(section) == []


def test_declared_after_the_first_rating_is_post_hoc_as_a_whole() -> None:
    section = standing([at(11)], "aa", PLAN, FIRST, imported=False)
    assert section["post_hoc"] == [EVERYTHING]
    assert notices(section)[0]["text"] == "Post hoc (all numbers): no analysis was declared before the first rating."


def test_a_field_edited_later_marks_the_sections_that_rest_on_it() -> None:
    edited = {**PLAN, "flags": {"repetition": 0.9}}
    section = standing([at(9), at(12, edited, "bb")], "bb", edited, FIRST, imported=False)
    assert section["changed"] == [{"field": "flags.repetition", "declared": 0.5, "now": 0.9}]
    assert section["post_hoc"] == ["flags", "policies.unflagged"]
    assert "flags.repetition" in notices(section)[0]["text"]


def test_another_level_marks_everything() -> None:
    edited = {**PLAN, "analysis": {"level": 0.9, "unrated": "missing"}}
    assert standing([at(9)], "bb", edited, FIRST, imported=False)["post_hoc"] == [EVERYTHING]


def test_ratings_made_elsewhere_are_post_hoc() -> None:
    section = standing([at(9)], "aa", PLAN, None, imported=True)
    assert section["post_hoc"] == [EVERYTHING]
    assert "before this study" in section["reason"]


def test_differences_name_fields_that_came_and_went() -> None:
    assert differences({"a": {"b": 1}}, {"a": {"c": 2}}) == [
        {"field": "a.b", "declared": 1, "now": None},
        {"field": "a.c", "declared": None, "now": 2},
    ]
