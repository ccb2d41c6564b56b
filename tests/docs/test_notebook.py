"""docs/python.ipynb runs from its first cell to its last, and holds no output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.docs.markdown import ROOT

FILE = ROOT / "docs" / "python.ipynb"
BOOK: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
CODE = [cell for cell in BOOK["cells"] if cell["cell_type"] == "code"]


def test_it_is_a_notebook_without_outputs() -> None:
    assert (BOOK["nbformat"], BOOK["nbformat_minor"]) == (4, 5)
    assert [cell for cell in CODE if cell["outputs"] or cell["execution_count"]] == []
    assert len({cell["id"] for cell in BOOK["cells"]}) == len(BOOK["cells"])


@pytest.mark.slow
def test_its_cells_run_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    for cell in CODE:
        exec("".join(cell["source"]), known)  # noqa: S102  the project's own page
    answer = known["answer"]
    assert answer.low < answer.estimate < answer.high
    assert len(known["study"].sessions) == 24
    figure = known["figure"]
    assert figure._repr_svg_().startswith("<svg")
    assert figure.count("<circle") == len(known["means"]) == 3
