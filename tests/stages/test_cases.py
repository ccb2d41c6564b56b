"""Single replies from seeds to the report: cases written, labelled and replied to by script."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.__main__ import run
from cbt_ray.llm.request import Request
from cbt_ray.llm.scripted import ScriptedModel
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import load_study
from cbt_ray.therapy.session import Session
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.keys import Keys
from cbt_ray.work.workshop import prompts_of

LABELS = ["Labeling", "Mental filter", "Overgeneralization", "Personalization", "Should statements"]
FORM = {
    "prompt": "echo.j2",
    "written": "json",
    "parts": [
        {
            "name": "found",
            "shown": True,
            "entries": [0, 5],
            "fields": [
                {"name": "label", "one_of": dict.fromkeys(LABELS, "A description.")},
                {"name": "quote", "quoted": True},
            ],
        },
        {"name": "closing", "shown": True},
    ],
}
ARMS = ("echo", "dealt", "silent", "prose")
DOCUMENT: dict[str, Any] = {
    "study": "cases",
    "seed": 3,
    "store": "runs",
    "prompts": "own",
    "patients": {
        "training": {
            "count": 120,
            "narrative_chars": [20, 2000],
            "characteristics": {
                "age": {"young": 1, "old": 1},
                "work": {f"work {n}": 1 for n in range(30)},
                "emotion": {"sad": 1, "angry": 1, "afraid": 1},
            },
            "balanced": ["emotion"],
            "most_alike": 0.95,
        }
    },
    "courses": {
        **{"write": "turns", "sessions": 1, "exchanges": 1},
        **{"form": "analysis", "turn_chars": [1, 4000]},
    },
    "forms": {"analysis": FORM},
    "dataset": {"format": "turn", "held_out": 0, "test": 0.8333},
    "arms": [
        {"name": arm, "prompt": f"{arm}.j2", "form": "analysis", "factors": {"who": arm}}
        for arm in ARMS
    ],
    "endpoints": {"script": {"kind": "scripted"}},
    "roles": {role: {"endpoint": "script"} for role in ("generator", "therapist")},
    "sessions": {"count": 1, "opener": "case", "max_messages": 2, "stop": []},
    "raters": {
        "labels": {
            "kind": "rule",
            "rules": {
                "f1": {"labels": "f1", "field": "found.label"},
                "precision": {"labels": "precision", "field": "found.label"},
                "recall": {"labels": "recall", "field": "found.label"},
                "same": {"labels": "same", "field": "found.label"},
                "missed": {"count": "missed"},
                "entries": {"count": "entries", "field": "found.label"},
                "quoted": {"count": "quoted", "field": "found.quote", "share": True},
            },
        }
    },
    "analysis": {
        "outcomes": ["labels.f1", "labels.same"],
        "contrasts": [{"name": "dealt-echo", "plus": {"who": "dealt"}, "minus": {"who": "echo"}}],
    },
}


def labels_of(text: str) -> list[str]:
    """Labels that follow from a text, as those of the generator follow from its case."""
    rng = random.Random(hashlib.sha256(text.encode()).hexdigest())
    chances = zip(LABELS, (0.7, 0.5, 0.3, 0.2, 0.1), strict=True)
    return [label for label, chance in chances if rng.random() < chance] or LABELS[:1]


def answer(system: str, case: str) -> str:
    named = {
        "ECHO": labels_of(case),
        "DEALT": labels_of(case[::-1]),
        "SILENT": [],
    }.get(system)
    if named is None:
        return "You call yourself names."
    found = [{"label": label, "quote": case.split(".")[0]} for label in named]
    return json.dumps({"found": found, "closing": "Look again."})


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles as any script writes them, replies by the prompt that asks for them."""
    plain: Callable[[ScriptedModel, Request, random.Random], str] = ScriptedModel._text

    def text(self: ScriptedModel, request: Request, rng: random.Random) -> str:
        system, last = request.messages[0].content, request.messages[-1].content
        return answer(system, last) if system.isupper() else plain(self, request, rng)

    monkeypatch.setattr(ScriptedModel, "_text", text)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    own.mkdir()
    for name in ARMS:
        (own / f"{name}.j2").write_text(name.upper())
    (own / "write_therapist.j2").write_text('{% include "echo.j2" %}')
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(DOCUMENT, sort_keys=False))
    return file


def units(file: Path, stage: Stage) -> list[Unit]:
    read = load_study(file)
    keys = Keys(read, prompts_of(read)).all()[stage]
    found = FolderStore(file.parent / "runs").get_many(keys)
    return [unit for _, unit in found if unit is not None]


def test_single_replies_from_seeds_to_the_report(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["study", str(study), "--inline"]) == 0
    sessions = [unit.content for unit in units(study, Stage.SESSIONS)]
    assert Counter(one["arm"] for one in sessions) == dict.fromkeys(ARMS, 100)
    assert {(len(one["turns"]), one["stop"]) for one in sessions} == {(2, "max_messages")}
    cases = {
        unit.key.id: unit.content["narrative"].strip() for unit in units(study, Stage.PROFILES)
    }
    assert {one["turns"][0]["text"] == cases[one["patient"]] for one in sessions} == {True}
    [scores] = units(study, Stage.ANALYSIS)
    found = {arm["arm"]: arm for arm in scores.content["analysis"]["labels"]["arms"]}
    assert found["echo"]["all"]["f1"]["value"] == 1
    assert abs(found["dealt"]["all"]["f1"]["value"] - found["dealt"]["base_rate"]) <= 0.03
    assert found["silent"]["all"]["f1"]["value"] == found["prose"]["all"]["f1"]["value"] == 0
    assert found["silent"]["unnamed"] == {"none_named": 100}
    assert found["prose"]["unnamed"] == {"no_json": 100}
    rows = {row["session_key"]: row for row in scores.content["rows"]}
    by_arm = {arm: [row["measures"] for row in rows.values() if row["arm"] == arm] for arm in ARMS}
    means = {
        arm: {name.removeprefix("labels."): mean(one[name] for one in own) for name in own[0]}
        for arm, own in by_arm.items()
    }
    assert means["echo"] | {"entries": 0} == {
        **{"f1": 1, "precision": 1, "recall": 1, "same": 1, "missed": 0, "entries": 0},
        "quoted": 100,
    }
    assert means["silent"]["f1"] == means["silent"]["recall"] == means["silent"]["entries"] == 0
    assert means["silent"]["precision"] is None  # of nothing that was named
    assert means["prose"]["missed"] == 1
    personas = load_study(study).split.personas
    tested = {personas[name] for name in load_study(study).tested}
    assert len(tested) < 100  # cases of one persona are its chains
    assert scores.content["analysis"]["counts"]["patients"] == len(tested)
    assert scores.content["analysis"]["counts"]["chains"] == 400
    assert scores.content["analysis"]["labels"]["ceiling"] == "echo"
    assert "few_therapist_turns" not in {flag for row in rows.values() for flag in row["flags"]}


def mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def test_a_profile_too_much_like_an_earlier_one_is_written_anew(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ScriptedModel._text
    asked = Counter[str]()

    def text(self: ScriptedModel, request: Request, rng: random.Random) -> str:
        last = request.messages[-1].content
        if "work 7" not in last:
            return plain(self, request, rng)
        asked[last] += 1
        same = "I sat in the kitchen and thought that nobody would ever call me again"
        own = f"{rng.random()} {same[::-1]}"
        return json.dumps({"narrative": same if asked[last] < 3 else own})

    monkeypatch.setattr(ScriptedModel, "_text", text)
    assert run(["generate", str(study), "--inline"]) == 0
    said = "".join(capsys.readouterr())
    profiles = units(study, Stage.PROFILES)
    again = {
        unit.key.id: unit.content["sent_back"]["alike"]
        for unit in profiles
        if "alike" in unit.content["sent_back"]
    }
    assert again
    assert all(f"profiles: {name} is 1.00 like" in said for name in again)
    texts = [unit.content["narrative"] for unit in profiles]
    assert len(set(texts)) == len(texts) == 120
    assert run(["generate", str(study), "--inline"]) == 0  # and nothing is written twice
    assert [unit.digest for unit in units(study, Stage.PROFILES)] == [
        one.digest for one in profiles
    ]


def test_a_profile_that_stays_alike_is_rejected_and_its_session_not_reached(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ScriptedModel._text

    def text(self: ScriptedModel, request: Request, rng: random.Random) -> str:
        if "work 7" not in request.messages[-1].content:
            return plain(self, request, rng)
        return json.dumps({"narrative": "I sat in the kitchen and nobody would ever call."})

    monkeypatch.setattr(ScriptedModel, "_text", text)
    assert run(["generate", str(study), "--inline"]) == 0
    alike = [unit.key.id for unit in units(study, Stage.PROFILES) if unit.reason == "alike"]
    assert alike
    assert run(["simulate", str(study), "--inline"]) == 0
    held = {unit.content["patient"] for unit in units(study, Stage.SESSIONS)}
    tested = set(load_study(study).tested)
    assert held == tested - set(alike)


def test_a_case_is_learned_as_it_is_asked(study: Path) -> None:
    """What is trained on is what a session asks, and the answer as it was written."""
    assert run(["generate", str(study), "--inline"]) == 0
    for unit in units(study, Stage.COURSES):
        patient, therapist = Session.from_json(unit.content).turns
        assert json.loads(dict(therapist.hidden)["as-written"])["closing"] == "Look again."
        assert therapist.text.endswith("Look again.")
        assert patient.text
