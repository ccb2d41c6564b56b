"""The rows of imported judges: all scheduled sessions of a judge of all sessions, of others only
what they rated.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.__main__ import outcome
from cbt_ray.analysis import ScoreRow
from cbt_ray.imports.rows import Facts, imported_ratings, ratings_by_session
from cbt_ray.study import load_study
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.unit import Key, Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.published.cbt.clone import GROUPS, document, simulated, talk, write_clone

ADA = "llama-tuned.ada-lovell.r1"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone without one transcript, with one that lacks the therapist and one that lacks a
    rating; rated by a person, too.
    """
    monkeypatch.chdir(tmp_path)
    clone = write_clone(tmp_path / "clone")
    ada = next((clone / "CBT_Simulations" / GROUPS[0]).glob("*Ada*"))
    scores = clone / "Code" / "evaluation_results" / "all_scores_with_patients.csv"
    (ada / "session_1_20241102_100001.txt").unlink()
    (ada / "session_2_20241102_100002.txt").write_text(
        simulated(2, "Ada Lovell", [], reason="Critical Error", details="x")
    )
    unrated = (
        "2_20241102_100002,Ada Lovell,Llama_Finetune",
        "3_20241102_100003,Ada Lovell,Llama_Finetune",
    )
    scores.write_text(
        "".join(
            line
            for line in scores.read_text().splitlines(keepends=True)
            if not line.startswith(unrated)
        )
    )
    assert outcome(["import", "cbt", "clone", "pub.yaml"]) == (0, "")
    Path("ana.csv").write_text(
        "arm,patient,session,total\nllama-tuned,Ada Lovell,3,44\nllama-instruct,Ben Okri,1,55\n"
    )
    assert outcome(["import", "ratings", "ana.csv", "pub.yaml", "--judge", "ana"]) == (0, "")
    return Path("pub.yaml")


def rows_of(study: Path, **overrides: Any) -> list[ScoreRow]:
    bench = Bench(load_study(study, overrides), Silent(), inline=True)

    def facts(key: Key) -> Facts | None:
        unit = bench.store.get(key)
        if unit is None or "turns" not in unit.content:
            return None
        session = Session.from_json(unit.content)
        turns = len(session.turns_of(Speaker.THERAPIST))
        return Facts(session.words, turns, len(session.turns))

    return imported_ratings(
        bench, bench.survey(Stage.SESSIONS, Stage.RATINGS), facts, lambda *_: None
    )


def test_every_scheduled_session_has_a_row_of_the_published_judge(study: Path) -> None:
    rows = [row for row in rows_of(study) if row.judge == "published"]
    assert len(rows) == len({row.session_key for row in rows}) == 12
    assert Counter(row.reason for row in rows) == {
        None: 9,
        "absent": 1,
        "nothing_to_rate": 1,
        "not_rated": 1,
    }
    reasons = {
        row.session: row.reason
        for row in rows
        if row.arm == "llama-tuned" and row.patient == "Ada Lovell"
    }
    assert reasons == {1: "absent", 2: "nothing_to_rate", 3: "not_rated"}
    for row in rows:
        assert row.rated is (row.reason is None) is (row.total is not None)
    rated = next(row for row in rows if row.rated and row.session == 2)
    assert (rated.total, set(rated.items.values()), rated.kind, rated.view) == (
        33,
        {3},
        "model",
        "plain",
    )
    assert (rated.messages, rated.factors, rated.phase) == (
        1 + len(talk(2)),
        {"variant": "instruct"},
        "assessment",
    )


def test_of_a_person_only_what_was_rated(study: Path) -> None:
    rows = [row for row in rows_of(study) if row.judge == "ana"]
    assert [(row.arm, row.session, row.total, row.kind, row.items) for row in rows] == [
        ("llama-instruct", 1, 55, "human", {}),
        ("llama-tuned", 3, 44, "human", {}),
    ]


def test_whoever_makes_the_headline_has_all_sessions(study: Path) -> None:
    rows = [row for row in rows_of(study, **{"analysis.judge": "ana"}) if row.judge == "ana"]
    assert Counter(row.rated for row in rows) == {True: 2, False: 10}


def test_a_rating_of_another_version_of_its_session_does_not_count(study: Path) -> None:
    text = document(study)
    manifest = json.loads(Path("pub.imported.json").read_text())
    manifest["sessions"][f"{ADA}.s03"] = "0123456789abcdef"
    Path("changed.json").write_text(json.dumps(manifest))
    study.write_text(yaml.safe_dump({**text, "imported": "changed.json"}))
    rows = [row for row in rows_of(study) if row.judge == "ana" and row.arm == "llama-tuned"]
    assert [(row.rated, row.reason, row.total) for row in rows] == [(False, "other_version", None)]
    assert rows[0].session_key.endswith("/0123456789abcdef")


def test_ratings_by_session_have_their_units(study: Path) -> None:
    found = ratings_by_session(Bench(load_study(study), Silent(), inline=True))
    assert len(found) == 10
    assert [
        (rating.judge, rating.kind, rating.unit.content["measures"]["total"]["value"])
        for rating in found[f"{ADA}.s03"]
    ] == [("ana", "human", 44)]
