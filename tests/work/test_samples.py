"""The sample values of prompts are those that the code gives them: the same prompts, the same
names.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.errors import ModelFailure
from cbt_ray.llm.request import Reply, Request
from cbt_ray.prompts import Prompts
from cbt_ray.rating.guess import guess
from cbt_ray.study.rater import Judge
from cbt_ray.work.samples import samples
from tests.study.example import example_study, loaded, write_study
from tests.therapy.spoken import ENGLISH

Shapes = dict[str, set[tuple[tuple[str, str], ...]]]


def shape(value: Any) -> str:
    """A value's kind, as far as a prompt can tell."""
    if isinstance(value, list | tuple) and value:
        return f"[{shape(value[0])}]"
    return {"NoneType": "text", "str": "text"}.get(type(value).__name__, type(value).__name__)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> Shapes:
    found: Shapes = defaultdict(set)
    render = Prompts.render

    def recorded(prompts: Prompts, prompt: str, /, **values: Any) -> str:
        found[prompt].add(tuple(sorted((name, shape(value)) for name, value in values.items())))
        return render(prompts, prompt, **values)

    monkeypatch.setattr(Prompts, "render", recorded)
    return found


def no_answer(_: Request) -> Reply:
    raise ModelFailure("none")


def test_samples_are_what_the_code_fills_in(rendered: Shapes, tmp_path: Path) -> None:
    study = write_study(tmp_path, example_study(raters__judge__items="separately"))
    assert run(["generate", str(study), "--inline"]) == 0
    assert run(["simulate", str(study), "--inline"]) == 0
    assert run(["evaluate", str(study), "--inline"]) == 0
    told = {"a": "one", "b": "other"}
    with pytest.raises(ModelFailure):
        guess("text", told, "psychotherapy", Judge(endpoint="script"), Prompts(), no_answer, 1)
    known: Shapes = defaultdict(set)
    for sample in samples(loaded(), ENGLISH, [None], {"a": "one", "b": "other"}):
        known[sample.prompt].add(
            tuple(sorted((name, shape(value)) for name, value in (sample.values or {}).items()))
        )
    assert known == rendered
