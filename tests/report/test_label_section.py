"""Section "Labels": there where a form has labels; its ceiling is named, its emptiness told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cbt_ray.analysis import Analysis, Settings
from cbt_ray.analysis.label.labelled import Labelled
from cbt_ray.analysis.label.labels import labels
from cbt_ray.report.figure import Figure
from cbt_ray.report.label_section import labels as section
from cbt_ray.report.part import every
from cbt_ray.report.table import Table
from tests.report import study

pytestmark = pytest.mark.slow


def drawn(rows: list[Labelled] | None) -> tuple[dict[str, Table], list[Figure]]:
    """Tables by their ids, and figures, of a study with these replies."""
    parts = every(found.parts) if (found := section(analysis(rows))) else []
    tables = {part.id: part for part in parts if isinstance(part, Table)}
    return tables, [part for part in parts if isinstance(part, Figure)]


def analysis(rows: list[Labelled] | None) -> Analysis:
    own = labels(rows, Settings(), study.CEILING, study.LABELS) if rows is not None else None
    return replace(study.analysis(), labels=own)


def test_a_study_without_labels_has_no_such_section() -> None:
    assert section(analysis(None)) is None


def test_the_ceiling_is_named_in_tables_and_legend() -> None:
    tables, (figure,) = drawn(study.label_rows())
    assert [row.cells[0].text for row in tables["t-labels"].rows][-1] == "generator (ceiling)"
    assert [look.label for look in figure.legend][-1] == "generator (ceiling)"
    assert len({(look.series, look.shape) for look in figure.legend}) == len(figure.legend)
    assert "All-or-nothing thinking" in str(figure.panels[0])
    assert "Never named" not in str(figure.panels[0])
    assert "Training seeds" not in [title for title, _ in tables["t-labels"].head]


def test_training_seeds_have_a_column_where_there_are_several() -> None:
    rows = study.label_rows()
    tuned = [replace(row, seed=2) for row in rows if row.arm == "birch-tuned"]
    tables, _ = drawn([*rows, *tuned])
    column = [title for title, _ in tables["t-labels"].head].index("Training seeds")
    assert [row.cells[column].text for row in tables["t-labels"].rows][:2] == ["\N{EN DASH}", "2"]


def test_what_cannot_be_drawn_says_why() -> None:
    none = [
        replace(row, named=frozenset(), reference=frozenset(), reason="no_form")
        for row in study.label_rows()
    ]
    tables, (figure,) = drawn(none)
    assert figure.empty == "Not drawn: nothing was named."
    assert "40 no form" in [cell.text for cell in tables["t-labels"].rows[0].cells]
    lone = [replace(row, persona="one") for row in study.label_rows()]
    _, (figure,) = drawn(lone)
    assert "A hollow point has no interval." in figure.caption
