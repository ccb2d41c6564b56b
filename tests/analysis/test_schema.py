"""The keys of analysis.json: the page and the schema are today's, and an analysis follows them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cbt_ray.analysis import Scores, analyse
from cbt_ray.analysis.document import to_json
from cbt_ray.analysis.schema import PAGE, SCHEMA_FILE, analysis_schema, page, parts, schema_text
from tests.analysis.tables import made_up

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_has_the_keys_of_today() -> None:
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    assert text == page(text), "make docs writes it anew"


def test_the_schema_is_that_of_today() -> None:
    text = (DOCS / SCHEMA_FILE).read_text(encoding="utf-8")
    assert text == schema_text(), "make docs writes it anew"


def test_each_part_has_a_name_of_its_own() -> None:
    assert [name for name, count in Counter(p.__name__ for p in parts()).items() if count > 1] == []


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(analysis_schema())


def test_an_analysis_follows_its_schema() -> None:
    assert complaints(to_json(analyse(Scores.of(made_up())))) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"view": 1}, "1 is not of type 'string'"),
        ({"power": {"level": 0.95, "family": 1}}, "'note' is a required property"),
        ({"settings": {"unrated": "most"}}, "'most' is not one of ['missing', 'lowest']"),
    ],
)
def test_what_is_none_does_not(change: dict[str, Any], complaint: str) -> None:
    assert complaints(to_json(analyse(Scores.of(made_up()))) | change) == [complaint]


def complaints(document: Any) -> list[str]:
    return [
        error.message for error in Draft202012Validator(analysis_schema()).iter_errors(document)
    ]
