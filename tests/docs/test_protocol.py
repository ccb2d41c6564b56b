"""docs/protocol.md has every field of language.yaml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cbt_ray.study.block import Block
from cbt_ray.therapy import language

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
SECTIONS: dict[str, type[Block]] = {
    "language": language.Language,
    "language.course": language.Course,
    "language.course.parts[]": language.Part,
    "language.course.parts[].needs[]": language.Need,
    "language.transcript": language.Transcript,
    "language.stop": language.Stop,
    "language.flags": language.FlagWords,
    "language.masked": language.Masked,
}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_field_of_the_language_has_a_row(name: str) -> None:
    found = re.search(
        rf"^##+ `{re.escape(name)}`$(.*?)(?=^##|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found, f"docs/protocol.md lacks the section `{name}`"
    cells = [line.split("|")[1] for line in found[1].splitlines() if line.startswith("| `")]
    assert [field for cell in cells for field in re.findall(r"`(\w+)`", cell)] == list(
        SECTIONS[name].model_fields
    )
