"""docs/own-study.md names every prompt and what it is given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from cbt_ray.prompts import Prompts
from cbt_ray.rating.guess import load_kinds
from cbt_ray.study import load_study
from cbt_ray.study.form import PROMPT
from cbt_ray.therapy.language import load_language
from cbt_ray.work.probed import kinds_of
from cbt_ray.work.samples import samples

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-study.md").read_text(encoding="utf-8")
WRITERS = "study-file.md#courses"
"""Where the prompts of courses that are written turn by turn are."""


def given() -> Mapping[str, set[str]]:
    """Prompt -> the values that the demo gives it, which has every role."""
    study, prompts = load_study(ROOT / "studies" / "demo.yaml"), Prompts()
    found: dict[str, set[str]] = {}
    for sample in samples(
        study, load_language(prompts), [None], load_kinds(prompts, kinds_of(study))
    ):
        found.setdefault(sample.prompt, set()).update(sample.values or {})
    return found


def test_each_prompt_stands_with_its_values() -> None:
    rows = re.findall(r"^\| `([\w.]+\.j2)`[^|]*\|[^|]*\| ([^|]*) \|$", PAGE, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", values)) for name, values in rows} == given()
    assert PROMPT in given()


def test_each_prompt_that_comes_along_is_named_somewhere() -> None:
    pages = PAGE + (ROOT / "docs" / "study-file.md").read_text(encoding="utf-8")
    files = [file.name for file in (ROOT / "prompts" / "en").glob("*.j2")]
    assert [name for name in files if f"`{name}`" not in pages] == []
    assert WRITERS in PAGE
