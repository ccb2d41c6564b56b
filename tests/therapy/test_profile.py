"""Training patients: characteristics as a study declares them, written out or filled in."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.llm.request import Reply, Request
from cbt_ray.planning.estimate import estimate
from cbt_ray.prompts import Prompts
from cbt_ray.study import load_study
from cbt_ray.study.endpoint import Role
from cbt_ray.study.patients import TrainingPatients
from cbt_ray.therapy.profile import write_profile
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.study.example import example_study, write_study
from tests.therapy.scripts import Script, as_json

ARCHETYPES = {
    "avoidant": {"weight": 3, "sets": {"style": "brief answers", "pace": "slow"}},
    "angry": {"weight": 1, "sets": {"style": "contradicts"}},
}


def patients(**fields: Any) -> TrainingPatients:
    given = {"count": 1, "characteristics": {"archetype": ARCHETYPES}, "narrative_chars": [5, 400]}
    return TrainingPatients.model_validate(given | fields)


def draws(known: TrainingPatients, count: int = 2000) -> list[dict[str, str]]:
    numbers = range(1, count + 1)
    return [found for n in numbers if (found := known.draw("training", 3, n)) is not None]


def test_a_level_sets_its_other_fields() -> None:
    seen = Counter(tuple(sorted(found.items())) for found in draws(patients()))
    avoidant = (("archetype", "avoidant"), ("pace", "slow"), ("style", "brief answers"))
    angry = (("archetype", "angry"), ("style", "contradicts"))
    assert set(seen) == {avoidant, angry}
    assert 0.72 < seen[avoidant] / 2000 < 0.78


def test_what_never_goes_together_is_not_drawn_and_the_rest_keeps_its_shares() -> None:
    levels = {"age": {"18": 1, "70": 1}, "work": {"retired": 1, "student": 1, "none": 2}}
    never = [{"age": "18", "work": "retired"}, {"age": "70", "work": "student"}]
    seen = Counter(
        tuple(found.values()) for found in draws(patients(characteristics=levels, never=never))
    )
    assert set(seen) == {("18", "student"), ("18", "none"), ("70", "retired"), ("70", "none")}
    assert 0.3 < seen["18", "none"] / 2000 < 0.37  # 2 of 6
    assert 0.14 < seen["70", "retired"] / 2000 < 0.2  # 1 of 6


def test_fields_that_a_level_sets_can_be_forbidden() -> None:
    more = {"archetype": ARCHETYPES, "age": {"18": 1, "70": 1}}
    never = [{"style": "contradicts", "age": "70"}]
    found = draws(patients(characteristics=more, never=never))
    assert ("contradicts", "70") not in {(one["style"], one["age"]) for one in found}
    assert ("contradicts", "18") in {(one["style"], one["age"]) for one in found}


@pytest.mark.parametrize("name", ["Stimmung heute", "настроение", "心情", "13th"])
def test_a_characteristic_may_have_any_name(name: str) -> None:
    assert draws(patients(characteristics={name: {"gut": 1}}), 1) == [{name: "gut"}]


def test_the_generator_is_told_all_fields_in_their_order() -> None:
    script = Script([as_json({"narrative": "She sleeps badly.", "name": "Ada Moss"})])
    known = patients(
        characteristics={"zeal": {"none": 1}, "archetype": {"angry": ARCHETYPES["angry"]}}
    )
    drawn = known.draw("training", 3, 1) or {}
    answer = write_profile(known, drawn, None, (), Prompts(), Role(endpoint="x"), script, 1)
    assert list(answer.value.characteristics) == ["zeal", "archetype", "style"]
    assert (
        "- zeal: none\n- archetype: angry\n- style: contradicts"
        in script.requests[0].messages[1].content
    )


def no_call(_: Request) -> Reply:
    raise AssertionError("a fixed profile asks nothing")


def test_a_fixed_profile_is_made_without_a_call(tmp_path: Path) -> None:
    (tmp_path / "mine.j2").write_text(
        "{{ name }} is {{ characteristics.archetype }}: {{ characteristics.style }}."
    )
    known = patients(profile="mine.j2", names=["Ada Moss"])
    drawn = known.draw("training", 3, 1) or {}
    prompts, role = Prompts(tmp_path), Role(endpoint="x")
    answer = write_profile(known, drawn, "Ada Moss", (), prompts, role, no_call, 1)
    assert answer.value.narrative in (
        "Ada Moss is avoidant: brief answers.",
        "Ada Moss is angry: contradicts.",
    )


def fixed(tmp_path: Path, template: str) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "who.j2").write_text(template)
    document = example_study(
        prompts="mine",
        patients__training__profile="who.j2",
        patients__training__characteristics={"archetype": ARCHETYPES},
    )
    return write_study(tmp_path, document)


def test_a_study_with_fixed_profiles_plans_and_makes_no_call_for_them(tmp_path: Path) -> None:
    file = fixed(tmp_path, "{{ name }}: {{ characteristics.style }}.")
    study = load_study(file)
    assert Stage.PROFILES not in {one.stage for one in estimate(study)}
    assert run(["generate", str(file), "--inline"]) == 0
    bench = Bench(study, Silent())
    for key in bench.keys.all()[Stage.PROFILES]:
        unit = bench.store.get(key)
        assert unit is not None
        assert unit.content["narrative"].endswith(("brief answers.", "contradicts."))
        assert unit.provenance["usage"]["calls"] == 0


def test_a_fixed_profile_that_asks_for_what_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = fixed(tmp_path, "{{ name }} is {{ mood }}.")
    assert run(["check", str(file)]) == 2
    said = capsys.readouterr().err
    assert f"{file}: patients.training.profile: {tmp_path}/mine/who.j2" in said
    assert "'mood' is undefined" in said
