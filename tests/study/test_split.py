"""Patients that are dealt and split: balanced, persona by persona, the tested ones simulated."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.study import Study, load_study
from cbt_ray.study.model import parted
from cbt_ray.study.split import drawn
from tests.study.example import example_study, write_study

STUDIES = Path(__file__).parents[2] / "studies"
CBTLLAMA = load_study(STUDIES / "cbtllama.yaml")


def seeds(study: Study) -> dict[str, dict[str, str]]:
    """The tested and the other patients' characteristics, by id."""
    training = study.patients.training
    assert training is not None
    found = {}
    for number, name in enumerate(study.split.personas, 1):
        fields = drawn(study, training, number)
        assert fields is not None
        found[name] = fields
    return found


def test_621_seeds_have_each_emotion_within_one_of_each_other() -> None:
    found = Counter(fields["emotion"] for fields in seeds(CBTLLAMA).values())
    assert (len(found), sum(found.values())) == (40, 621)
    assert max(found.values()) - min(found.values()) == 1


def test_100_of_621_are_tested_and_no_persona_is_on_both_sides() -> None:
    split = CBTLLAMA.split
    assert (len(split.personas), len(split.test)) == (621, 100)
    assert len(CBTLLAMA.simulated) == len(CBTLLAMA.tested) == 100
    sides = {persona: set[bool]() for persona in split.personas.values()}
    for patient, persona in split.personas.items():
        sides[persona].add(patient in split.test)
    assert not [persona for persona, side in sides.items() if len(side) > 1]
    assert max(Counter(split.personas.values()).values()) > 1  # or nothing was asked of it


def test_any_beginning_of_what_is_dealt_is_balanced() -> None:
    training = CBTLLAMA.patients.training
    assert training is not None
    for count in (1, 39, 40, 41, 100):
        dealt = [drawn(CBTLLAMA, training, n) or {} for n in range(1, count + 1)]
        found = Counter(fields["emotion"] for fields in dealt)
        fewest = min(found[emotion] for emotion in training.characteristics["emotion"])
        assert max(found.values()) - fewest <= 1


def test_another_seed_deals_and_splits_otherwise() -> None:
    other = load_study(STUDIES / "cbtllama.yaml", {"seed": 1})
    assert seeds(other) != seeds(CBTLLAMA)
    assert set(other.tested) == set(CBTLLAMA.tested) or other.split != CBTLLAMA.split
    again = load_study(STUDIES / "cbtllama.yaml", {"dataset.seed": 1})
    assert seeds(again) == seeds(CBTLLAMA)
    assert set(again.tested) != set(CBTLLAMA.tested)


def test_patients_of_one_persona_stay_together() -> None:
    personas = {f"p{n}": str(n // 3) for n in range(60)}
    held_out, test = parted(personas, 1, 0.1, 0.2)
    assert (len(held_out), len(test)) == (6, 12)
    assert {personas[one] for one in held_out} & {personas[one] for one in test} == set()
    for side in (held_out, test):
        whole = {
            name for name, persona in personas.items() if persona in {personas[n] for n in side}
        }
        assert whole == side


def test_few_personas_leave_somebody_on_each_side() -> None:
    personas = {f"p{n}": str(n % 3) for n in range(24)}
    held_out, test = parted(personas, 1, 0.1, 0.1)
    assert len(held_out) == len(test) == 8
    assert parted(dict.fromkeys(personas, "one"), 1, 0.1) == (frozenset(), frozenset())


CASES = {
    "patients__simulated": ...,
    "patients__training__names": [],
    "sessions": {"count": 1, "opener": "case", "max_messages": 2, "stop": []},
    "courses": {"write": "turns", "sessions": 1, "exchanges": 1},
    "dataset": {"format": "turn", "held_out": 0, "test": 0.5},
    "patients__training__count": 12,
}
FIELDS = [{"name": "label", "one_of": {"A": "One.", "B": "Two."}}, {"name": "quote"}]
PART = {"name": "found", "shown": True, "entries": [0, 2], "fields": FIELDS}
SAME = {"labels": "same", "field": "found.quote"}
LABELS = CASES | {
    "forms": {
        "list": {"written": "json", "parts": [PART]},
        "other": {
            "written": "json",
            "parts": [PART | {"fields": [{"name": "label", "one_of": {"A": "One."}}]}],
        },
    },
    "courses__form": "list",
    "arms__0__form": "list",
    "raters__rule": {"kind": "rule", "rules": {"f1": {"labels": "f1", "field": "found.label"}}},
}


def test_cases_and_their_labels_fit(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, example_study(**LABELS)))
    assert 4 <= len(study.tested) <= 8  # whole personas


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"arms__0__form": "other"}, r"arms.0.form: expected found.label with the labels"),
        ({"arms__0__form": None}, r"arms.0.form: expected found.label with the labels"),
        ({"sessions__max_messages": 4}, "expected single replies"),
        ({"sessions__stop": [{"rule": "end_token"}]}, "expected `sessions.stop` without end_token"),
        (
            {"raters__more": {"kind": "rule", "rules": {"q": SAME}}},
            r"raters.more.rules.q.field: expected found.label",
        ),
        (
            {"patients__training__characteristics": {"age": {"one": 1}}},
            "expected at least 2 personas",
        ),
        (
            {"patients__training__profile": "x.j2", "patients__training__most_alike": 0.9},
            "most_alike: expected none with `profile`",
        ),
    ],
)  # fmt: skip
def test_what_cases_cannot_give_is_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    model = {"models__smollm2__form": "list"} if "sessions__stop" in changes else {}
    file = write_study(tmp_path, example_study(**{**LABELS, **model, **changes}))
    with pytest.raises(InputError, match=expected):
        load_study(file)


BALANCED = {"patients__training__balanced": ["age_band"]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"patients__training__balanced": ["age"]}, "patients.training.balanced: expected"),
        ({"patients__training__balanced": ["coping", "coping"]}, "expected each once"),
        (
            BALANCED | {"patients__training__never": [{"age_band": "one"}]},
            "patients.training.never: expected to leave some patients",
        ),
        ({"patients__simulated": ...}, "patients.simulated: expected at least 1 patient"),
        (
            {"sessions__opener": "case"},
            "sessions.count: expected 1, since the first message is the case",
        ),
        ({"roles__patient": ...}, "roles.patient: expected one"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    file = write_study(tmp_path, example_study(**changes))
    with pytest.raises(InputError, match=expected):
        load_study(file)
