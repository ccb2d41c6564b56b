"""The manifest as a part of the study file: read beside it, refused in one line where it is
none.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cbt_ray.errors import InputError
from cbt_ray.study import load_study
from tests.study.example import example_study, write_study

DIGEST = "0123456789abcdef"


def test_it_lies_beside_the_study_file(tmp_path: Path) -> None:
    file = write_study(tmp_path, example_study(imported="its.json"))
    (tmp_path / "its.json").write_text(
        f'{{"sessions": {{"plain.teresa-lindqvist.r1.s01": "{DIGEST}"}}}}'
    )
    imported = load_study(file).imported
    assert imported
    assert imported.sessions == {"plain.teresa-lindqvist.r1.s01": DIGEST}
    assert load_study(file, without=("imported",)).imported is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "imported: {folder}/its.json: expected a file, there is none"),
        (
            '{"sessions": {\n"a" 1}}',
            "imported: {folder}/its.json: expected JSON: line 2: Expecting ':' delimiter",
        ),
        ('{"sesions": {}}', "imported.sesions (its.json): unknown field, expected sessions"),
        (
            '{"courses": {"p01.s01": "xyz"}}',
            "imported.courses.p01.s01 (its.json): String should match pattern",
        ),
        (
            '{"judges": {"judge": {}}}',
            "raters.judge: expected another name than that of an imported judge",
        ),
        (
            '{"judges": {"Ana B": {}}}',
            "imported.judges.Ana B (its.json): expected at most 31 lower-case letters, digits and "
            "hyphens",
        ),
        (
            '{"judges": {"ana": {"kind": "robot"}}}',
            "imported.judges.ana.kind (its.json): expected 'model' or 'human', found 'robot'",
        ),
    ],
)
def test_one_that_is_of_no_use_is_refused(text: str | None, expected: str, tmp_path: Path) -> None:
    file = write_study(tmp_path, example_study(imported="its.json"))
    if text is not None:
        (tmp_path / "its.json").write_text(text)
    with pytest.raises(InputError) as refused:
        load_study(file)
    assert str(refused.value).startswith(f"{file}: {expected.format(folder=tmp_path)}")
