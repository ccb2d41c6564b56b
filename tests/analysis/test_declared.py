"""Declared before the first rating, or post hoc: by field, with the sections that rest on it."""

from typing import Any

import pytest

from cbt_ray.analysis import Settings, analyse
from cbt_ray.analysis.declared import (
    EVERYTHING,
    RESTS_ON,
    Change,
    Declaration,
    differences,
    standing,
)
from tests.analysis.tables import made_up

pytestmark = pytest.mark.slow

PLAN: dict[str, Any] = {
    "analysis": {"level": 0.95, "unrated": "missing"},
    "flags": {"repetition": 0.5},
    "raters": {"judge": {"probes": {"sessions": 4}}},
}
FIRST = "2026-11-24T10:00:00+00:00"


def at(hour: int, content: dict[str, Any] = PLAN, h16: str = "aa") -> Declaration:
    return Declaration(f"2026-11-24T{hour:02}:00:00+00:00", h16, content)


def test_declared_before_the_first_rating_is_not_post_hoc() -> None:
    section = standing([at(9)], "aa", PLAN, FIRST, imported=False)
    assert (section.before_first_rating, section.post_hoc, section.declared_at) == (
        True,
        [],
        at(9).declared_at,
    )
    assert section.notices == []


def test_declared_after_the_first_rating_is_post_hoc_as_a_whole() -> None:
    section = standing([at(11)], "aa", PLAN, FIRST, imported=False)
    assert section.post_hoc == [EVERYTHING]
    assert (
        section.notices[0].text
        == "Post hoc (all numbers): no analysis was declared before the first rating."
    )


def test_a_field_edited_later_marks_the_sections_that_rest_on_it() -> None:
    edited = {**PLAN, "flags": {"repetition": 0.9}}
    section = standing([at(9), at(12, edited, "bb")], "bb", edited, FIRST, imported=False)
    assert section.changed == [Change("flags.repetition", 0.5, 0.9)]
    assert section.post_hoc == ["flags", "flow", "detectors", "policies.unflagged"]
    assert "flags.repetition" in section.notices[0].text


def test_another_level_marks_everything() -> None:
    edited = {**PLAN, "analysis": {"level": 0.9, "unrated": "missing"}}
    assert standing([at(9)], "bb", edited, FIRST, imported=False).post_hoc == [EVERYTHING]


def test_ratings_made_elsewhere_are_post_hoc() -> None:
    section = standing([at(9)], "aa", PLAN, None, imported=True)
    assert section.post_hoc == [EVERYTHING]
    assert "before this study" in (section.reason or "")


def test_differences_name_fields_that_came_and_went() -> None:
    assert differences({"a": {"b": 1}}, {"a": {"c": 2}}) == [
        Change("a.b", 1, None),
        Change("a.c", None, 2),
    ]


def test_a_plan_that_was_replaced_before_the_first_rating_does_not_count() -> None:
    """Who declares several plans cannot choose between them afterwards."""
    other = {**PLAN, "analysis": {"level": 0.9, "unrated": "missing"}}
    section = standing([at(7), at(8, other, "bb")], "aa", PLAN, FIRST, imported=False)
    assert section.post_hoc == [EVERYTHING]
    assert [change.field for change in section.changed] == ["analysis.level"]


def test_whoever_goes_back_to_a_plan_declares_it_again() -> None:
    other = {**PLAN, "analysis": {"level": 0.9, "unrated": "missing"}}
    assert (
        standing([at(7), at(8, other, "bb"), at(9)], "aa", PLAN, FIRST, imported=False).post_hoc
        == []
    )


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("analysis.unrated", Settings(unrated="lowest")),
        ("analysis.thorough", Settings(thorough=True)),
    ],
)
def test_every_section_that_a_field_changes_is_named(field: str, settings: Settings) -> None:
    rows = made_up(
        lambda key, item: 3 + (len(key[1]) * key[3] + len(key[2]) + len(item)) % 5,
        lambda key: "not_reached" if key[1:3] == ("tuned", "ada") and key[3] > 4 else None,
        models=("a", "b"),
        patients=("ada", "ben-li", "cy"),
        sessions=6,
    )
    before, after = (vars(analyse(rows, one)) for one in (Settings(), settings))
    changed = {section for section in before if before[section] != after[section]} - {
        "settings",
        "notices",
    }
    assert changed
    assert changed <= set(RESTS_ON[field])
