"""docs/study-file.md holds the tables that the fields make, and examples that the reader takes."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
import yaml
from pydantic import TypeAdapter

from cbt_ray.study.block import Block
from cbt_ray.study.study import Study
from tests.docs.field_tables import COMMAND, PAGE, SECTIONS, blocks, rewritten, section, table

TEXT = PAGE.read_text(encoding="utf-8")
WIDEST = 120


def blocks_in(annotation: Any, seen: frozenset[Any] = frozenset()) -> dict[str, type[Block]]:
    """The blocks that an annotation leads to, by name."""
    if not (isinstance(annotation, type) and issubclass(annotation, Block)):
        parts = [blocks_in(part, seen) for part in get_args(annotation)]
    elif annotation in seen:
        return {}
    else:
        fields = annotation.model_fields.values()
        inner = [blocks_in(field.annotation, seen | {annotation}) for field in fields]
        parts = [{annotation.__name__: annotation}, *inner]
    return {name: block for part in parts for name, block in part.items()}


BLOCKS = blocks_in(Study)


def test_the_tables_are_those_of_the_fields() -> None:
    assert rewritten(TEXT) == TEXT, f"{COMMAND} writes them anew"


def test_a_table_that_is_stale_is_noticed() -> None:
    stale = TEXT.replace("| `seed` | whole number", "| `seed` | number", 1)
    assert stale != TEXT
    assert rewritten(stale) == TEXT


def test_every_block_has_a_section() -> None:
    assert set(SECTIONS.values()) == set(BLOCKS) == set(blocks())


@pytest.mark.parametrize("name", SECTIONS)
def test_every_field_has_a_meaning_and_fits_into_a_line(name: str) -> None:
    rows = [line for line in table(blocks()[SECTIONS[name]]) if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [*BLOCKS[SECTIONS[name]].model_fields]
    assert [row for row in rows if row.endswith("|  |") or len(row) > WIDEST] == []


@pytest.mark.parametrize("name", [name for name in SECTIONS if name != "study"])
def test_the_example_is_valid_and_shows_every_field(name: str) -> None:
    example = re.search(r"```yaml\n(.*?)```", section(TEXT, name)[0], re.DOTALL)
    assert example, f"`{name}` has no example"
    block, value = BLOCKS[SECTIONS[name]], yaml.safe_load(example[1])
    TypeAdapter(block).validate_python(value)
    assert set(value) == set(block.model_fields)


def test_a_study_of_two_prompts_is_shown_whole() -> None:
    *_, example = re.findall(r"```yaml\n(.*?)```", section(TEXT, "arms[]")[0], re.DOTALL)
    shown = Study.model_validate(yaml.safe_load(example))
    assert [one.name for one in shown.contrasts] == ["prompt"]


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("`pairs`", "whole number 1 to 20 | `4`"),
        ("`top_p`", "number > 0, ≤ 1 | `0.95`"),
        ("`level`", "number > 0.5, < 1 | `0.95`"),
        ("`schedule`", "`linear`, `cosine` or `constant` | `linear`"),
        ("`phases`", "list of blocks | `[]`"),
        ("`characteristics`", "blocks by two names, or a file | required"),
        ("`stop`", "list of blocks | `[{rule: end_token}, {rule: summary}]`"),
        ("`price`", "two numbers | none"),
        ("`lead_ins`", "true or false | `false`"),
        ("`lora`", "block | its defaults"),
        ("`today`", "date | none"),
        ("`turn_end`", "text | none"),
    ],
)
def test_types_and_defaults_are_in_plain_words(field: str, words: str) -> None:
    assert f"\n| {field} | {words} | " in TEXT
