"""Declarations in the store: taken in once, again when somebody goes back, and dated against every
rating of the study.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cbt_ray.store import open_store
from cbt_ray.study import load_study
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.declared import declarations, declare, first_rating
from tests.study.example import example_study, write_study

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)


def test_the_same_declaration_is_taken_in_once_and_another_beside_it(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, example_study()))
    edited = study.model_copy(update={"analysis": study.analysis.model_copy(update={"level": 0.9})})
    store = open_store(str(tmp_path / "store"))
    first = declare(store, study, NOW)
    assert declare(store, study, NOW + timedelta(hours=1)) == first
    declare(store, edited, NOW + timedelta(hours=2))
    declare(store, study, NOW + timedelta(hours=3))
    known = declarations(store, study)
    assert [one.h16 for one in known] == [first.h16, known[1].h16, first.h16]
    analysis: Any = known[1].content["analysis"]
    assert analysis["level"] == 0.9
    assert known[2].declared_at == (NOW + timedelta(hours=3)).isoformat(timespec="seconds")


def test_ratings_of_another_version_of_the_study_file_count_as_the_first(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, example_study()))
    store = open_store(str(tmp_path / "store"))
    assert first_rating(store, study) is None
    for number, time in enumerate(("2026-11-24T08:00:00+00:00", "2026-11-24T07:00:00+00:00")):
        key = Key(study.study, Stage.RATINGS, "of-no-key-that-the-file-derives", f"{number:016x}")
        store.put(Unit(key, {}, provenance={"made_at": time}, made_from={}))
    store.put(
        Unit(
            Key(study.study, Stage.RATINGS, "imported", "f" * 16),
            {},
            provenance={"imported": {}},
            made_from={},
        )
    )
    assert first_rating(store, study) == "2026-11-24T07:00:00+00:00"
    store.set_aside(str(key))
    store.create(f"{study.study}/aside/ratings/torn/{'a' * 16}.{'b' * 16}", b"torn")
    assert first_rating(store, study) == "2026-11-24T07:00:00+00:00", (
        "who rates anew has seen the first ratings"
    )
