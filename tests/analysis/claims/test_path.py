"""Paths: through lists and names in a document, and the same through its schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import JsonValue, TypeAdapter

from cbt_ray.analysis.claims.path import Step, number, refused, walk, written


@dataclass
class Row:
    name: str
    value: float | None


@dataclass
class Other:
    name: str
    other: int


@dataclass
class Document:
    rows: Sequence[Row]
    mixed: Sequence[Row | Other]
    named: Mapping[str, Row]
    perhaps: Row | None
    ends: tuple[float, float] | None
    said: str
    free: Any
    json: dict[str, JsonValue]


def test_a_path_leads_through_lists() -> None:
    document: JsonValue = {"rows": [{"name": "a", "value": 1}, {"name": "b", "value": [5, 6]}]}
    assert walk(document, ["rows", {"name": "b"}, "value", "1"]) == 6
    assert walk(document, ["rows", {"name": "c"}, "value"]) is None
    assert walk(document, ["rows", "7"]) is None
    assert walk(document, ["rows", "0", "value", "more"]) is None


def test_a_number_is_no_truth_and_no_text() -> None:
    assert [number(value) for value in (2, 0.5, True, "2", None)] == [2, 0.5, None, None, None]


@pytest.mark.parametrize(
    "path",
    [
        ["rows", "0", "value"],
        ["rows", {"name": "a"}, "value"],
        ["mixed", {"name": "a"}, "other"],
        ["named", "anything", "value"],
        ["perhaps", "value"],
        ["ends", "1"],
        ["free", "what", {"ever": "it"}, "is"],
        ["json", "a", "b"],
    ],
)
def test_what_a_document_may_have_is_taken(path: list[Step]) -> None:
    assert refused(path, TypeAdapter(Document).json_schema()) is None


@pytest.mark.parametrize(
    ("path", "absent"),
    [
        (["row", "0", "value"], "row"),
        (["rows", "value"], "value"),
        (["rows", {"nam": "a"}, "value"], "nam"),
        (["rows", {"name": "a"}, "worth"], "worth"),
        (["mixed", {"value": "1", "other": "1"}, "name"], "value and other"),
        (["named", "anything", "more", "value"], "more"),
        (["perhaps", "value", "deeper"], "deeper"),
        (["ends", "first"], "first"),
    ],
)
def test_what_no_document_has_is_refused(path: list[Step], absent: str) -> None:
    said = refused(path, TypeAdapter(Document).json_schema())
    assert said == f"{written(path)}: expected a path of the analysis, it has no {absent} there"


@pytest.mark.parametrize("path", [["said"], ["perhaps"], ["rows", "0"], ["rows"], ["named", "a"]])
def test_what_is_no_number_is_refused(path: list[Step]) -> None:
    said = refused(path, TypeAdapter(Document).json_schema())
    assert said == f"{written(path)}: expected the path of a number"
