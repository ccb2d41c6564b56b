"""What a key is made from: what differs from the defaults, by one door, so that a study outlives a
release.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from cbt_ray.study import load_study
from cbt_ray.study.block import Block
from cbt_ray.unit import Key, Stage
from cbt_ray.work import keys as module
from cbt_ray.work.determinants import NOTHING, Fields, default_at, differences, said
from cbt_ray.work.keys import Keys
from cbt_ray.work.workshop import prompts_of

ROOT = Path(__file__).parents[2]
DEMO = load_study(ROOT / "studies" / "demo.yaml")
EVERY_STAGE = load_study(
    ROOT / "studies" / "demo.yaml",
    {
        "pairs.made.rejected.endpoint": "embedded",
        "models.smollm2.recipe.method": "orpo",
        "models.smollm2.recipe.preferences": "made:made",
    },
)
"""The demo, trained on preference pairs."""
BEFORE_TRAINING = {Stage.PROFILES, Stage.COURSES, Stage.PAIRS, Stage.DATASET}
BEHIND = {
    Stage.PROFILES: set(Stage),
    Stage.COURSES: set(Stage) - {Stage.PROFILES},
    Stage.PAIRS: set(Stage) - BEFORE_TRAINING | {Stage.PAIRS},
    Stage.DATASET: set(Stage) - BEFORE_TRAINING | {Stage.DATASET},
    Stage.ADAPTER: set(Stage) - BEFORE_TRAINING,
    Stage.MODEL: set(Stage) - BEFORE_TRAINING - {Stage.ADAPTER},
    Stage.SESSIONS: {Stage.SESSIONS, Stage.RATINGS, Stage.ANALYSIS, Stage.REPORT},
    Stage.RATINGS: {Stage.RATINGS, Stage.ANALYSIS, Stage.REPORT},
    Stage.ANALYSIS: {Stage.ANALYSIS, Stage.REPORT},
    Stage.REPORT: {Stage.REPORT},
}


class Inner(Block):
    decides_nothing: ClassVar[frozenset[str]] = frozenset({"pace"})
    a: int = 1
    pace: int = 1


class Outer(Block):
    name: str
    inner: Inner = Inner(a=2)
    several: tuple[Inner, ...] = ()
    named: Mapping[str, Inner] = {}
    share: float | None = 0.5


# ---- the door ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (Outer(name="x"), {"name": "x"}),
        (Outer(name="x", inner=Inner(a=2), several=(), share=0.5), {"name": "x"}),
        (Outer(name="x", inner=Inner()), {"name": "x", "inner": {}}),
        (Outer(name="x", inner=Inner(a=3)), {"name": "x", "inner": {"a": 3}}),
        (Outer(name="x", inner=Inner(a=2, pace=9)), {"name": "x"}),
        (Outer(name="x", several=(Inner(), Inner(a=5))), {"name": "x", "several": [{}, {"a": 5}]}),
        (Outer(name="x", named={"n": Inner(a=5)}), {"name": "x", "named": {"n": {"a": 5}}}),
        (Outer(name="x", share=None), {"name": "x", "share": None}),
        (Fields(Outer(name="x", share=1), but=frozenset({"name"})), {"share": 1}),
        (Fields(Outer(name="x", share=1), only=frozenset({"name"})), {"name": "x"}),
        (
            Fields(Outer(name="x"), but=frozenset({"name"}), also={"name": Inner(a=7)}),
            {"name": {"a": 7}},
        ),
    ],
)
def test_a_block_says_what_is_not_the_default_at_any_depth(block: Any, expected: Any) -> None:
    assert said({"block": [block]}) == {"block": [expected]}


@pytest.mark.parametrize(
    "value", [{1, 2}, Path("x"), object(), b"x", Key("s", Stage.COURSES, "i", "0")]
)
def test_what_has_no_one_form_comes_into_no_key(value: Any) -> None:
    with pytest.raises(TypeError, match="expected a block or a plain value in a key"):
        said({"a": [value]})


@pytest.mark.parametrize("names", [{"but": frozenset({"nmae"})}, {"only": frozenset({"nmae"})}])
def test_a_field_that_was_renamed_is_not_let_into_a_key_in_silence(names: Any) -> None:
    with pytest.raises(ValueError, match="Outer has no field nmae"):
        Fields(Outer(name="x"), **names)


def test_no_block_comes_into_a_key_by_another_door(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("a block goes into a key as it is: `said` says what of it counts")

    for way in ("model_dump", "model_dump_json", "__iter__", "__repr__", "__str__"):
        monkeypatch.setattr(BaseModel, way, refused)
    derived = Keys(EVERY_STAGE, prompts_of(EVERY_STAGE), str).all()
    assert all(derived.values())


# ---- what differs --------------------------------------------------------------------------------


def test_differences_name_the_way_and_both_values() -> None:
    then = {"a": 1, "b": {"c": [1, {"d": 2}], "e": [1]}, "same": {}, "gone": {"x": 1}}
    now = {"a": 2, "b": {"c": [1, {"d": 3}], "e": [1, 2]}, "same": {}, "new": 5}
    assert list(differences(then, now)) == [
        (("a",), 1, 2),
        (("b", "c", "1", "d"), 2, 3),
        (("b", "e"), [1], [1, 2]),
        (("gone", "x"), 1, NOTHING),
        (("new",), NOTHING, 5),
    ]
    assert not list(differences(now, now))


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (("role", "share"), 0.5),
        (("role", "inner"), {"a": 2}),
        (("role", "inner", "a"), 1),
        (("role", "several", "0", "a"), 1),
        (("role", "name"), NOTHING),
        (("role", "digest"), NOTHING),
        (("role", "there", "a"), 1),
        (("plain",), NOTHING),
        (("none", "such"), NOTHING),
    ],
)
def test_default_of_a_field_is_found_along_its_way(way: tuple[str, ...], expected: Any) -> None:
    also = {"digest": "0", "there": Inner()}
    role = Fields(Outer(name="x", several=(Inner(),)), also=also)
    assert default_at({"role": role, "plain": 5}, way) == expected


# ---- a study outlives a release ------------------------------------------------------------------

KEYS_OF_THE_DEMO = """
import json, sys
from cbt_ray.study import load_study
from cbt_ray.work.keys import Keys
from cbt_ray.work.workshop import prompts_of
study = load_study("studies/demo.yaml", json.loads(sys.argv[1]))
found = Keys(study, prompts_of(study), str).all()
print(json.dumps([str(key) for keys in found.values() for key in keys]))
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A later release, whose every block has one more field with a default."""
    folder = tmp_path_factory.mktemp("release")
    for name in ("cbt_ray", "prompts", "studies"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def blocks_in(source: str, known: set[str]) -> Iterator[ast.ClassDef]:
    """The blocks that a module declares, of those that are known and what is made of them."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and any(
            isinstance(base, ast.Name) and base.id in known for base in node.bases
        ):
            known.add(node.name)
            yield node


def with_a_field(package: Path) -> set[str]:
    """Give each block of the study file a new optional field; answers their names.

    Not the roles: each field of theirs is one.
    """
    known = {"Block"}
    for file in sorted((package / "study").glob("*.py")):
        lines = file.read_text().split("\n")
        for node in reversed(list(blocks_in(file.read_text(), known))):
            if node.name == "Roles":
                continue
            first = node.body[0].end_lineno or node.lineno  # its docstring
            lines.insert(first, "    top_k: int | None = None")
        file.write_text("\n".join(lines))
    return known - {"Block"}


def keys_of_demo(folder: Path, **changes: Any) -> list[Key]:
    done = subprocess.run(
        [sys.executable, "-c", KEYS_OF_THE_DEMO, json.dumps(changes)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    return [Key.parse(one) for one in json.loads(done.stdout)]


def test_an_optional_field_more_in_every_block_changes_no_key(release: Path) -> None:
    before = [key for keys in Keys(DEMO, prompts_of(DEMO), str).all().values() for key in keys]
    blocks = with_a_field(release / "cbt_ray")
    assert {"Sampling", "LlamaCppEndpoint", "Courses", "Recipe", "Judge"} <= blocks
    after = keys_of_demo(release)
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 0
    assert len(after) > 40
    said_so = keys_of_demo(
        release, **{"raters.judge.top_k": 5}
    )  # the field is there, and counts where it says
    assert {key.stage for key in set(said_so) - set(after)} == BEHIND[Stage.RATINGS]


@pytest.mark.parametrize("stage", Stage)
def test_a_raised_version_reaches_the_stage_and_what_follows_and_nothing_else(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = EVERY_STAGE
    before = Keys(study, prompts_of(study), str)
    reached = set(before.all()[stage])
    waiting = list(reached)
    while waiting:
        new = set(before.made_of(waiting.pop())) - reached
        reached |= new
        waiting += new
    monkeypatch.setitem(module.VERSION, stage, module.VERSION[stage] + 1)
    after = {key for keys in Keys(study, prompts_of(study), str).all().values() for key in keys}
    changed = {key for keys in before.all().values() for key in keys} - after
    assert changed == reached
    assert {key.stage for key in changed} == BEHIND[stage]


def test_every_stage_has_a_version() -> None:
    assert set(module.VERSION) == set(Stage)
    assert all(type(number) is int and number >= 1 for number in module.VERSION.values())
