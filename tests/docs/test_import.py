"""docs/import.md names every field and column that an import takes, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cbt_ray.imports.rating_table import AMOUNTS, FIELDS
from cbt_ray.imports.transcript import CourseSession, Transcript

PAGE = (Path(__file__).parents[2] / "docs" / "import.md").read_text(encoding="utf-8")
SECTIONS = {
    "Transcripts of your own": {*Transcript.model_fields},
    "Courses of your own": {*CourseSession.model_fields},
    "Ratings by people or by other judges": {*FIELDS, *AMOUNTS},
}
ALSO = {"model", "variant"}
"""Columns that the meaning of another one names."""


@pytest.mark.parametrize("title", SECTIONS)
def test_each_table_has_the_fields_that_are_read(title: str) -> None:
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]*) \|", section, re.M))))
    assert named == SECTIONS[title] - ALSO
    assert all(f"`{name}`" in section for name in SECTIONS[title])
