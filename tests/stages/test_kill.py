"""kill -9 in every stage: what was done stays as it is, what is owed is made, and the end is that
of an undisturbed run.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.store.folder import FolderStore
from cbt_ray.training.dataset import NAMES
from cbt_ray.unit import Stage
from tests.stages import scripted

LATENCY_S = 0.05
"""Makes a stage long enough to be met in its middle."""
ENGINE = {"workers": 2, "chains_per_worker": 1}
AT_ONCE = 2
TOTAL = {
    Stage.PROFILES: 3,
    Stage.COURSES: 6,
    Stage.DATASET: 1,
    Stage.ADAPTER: 2,
    Stage.MODEL: 2,
    Stage.SESSIONS: 8,
    Stage.RATINGS: 8,
}


def best_epochs(speaking: Path) -> dict[str, Any]:
    """Changes of the study: the second model is that of its best epoch, and there is a test
    split.
    """
    changes = scripted.tuned(speaking)
    changes["models"]["second"]["recipe"]["keep"] = "best"
    return {**changes, "dataset": {"test": 0.3}}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, speaking: Path) -> Path:
    """The store of a study that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    document = scripted.study_document(folder / "store", **best_epochs(speaking))
    scripted.run("study", scripted.write_study(folder, document))
    return folder / "store"


@pytest.mark.train
def test_a_study_killed_in_every_stage_ends_as_an_undisturbed_one(
    tmp_path: Path, undisturbed: Path, speaking: Path
) -> None:
    store = tmp_path / "store"
    file = scripted.write_study(
        tmp_path,
        scripted.study_document(store, LATENCY_S, engine=ENGINE, **best_epochs(speaking)),
    )
    made: Counter[str] = Counter()
    for stage in (Stage.COURSES, Stage.ADAPTER, Stage.MODEL, Stage.SESSIONS, Stage.RATINGS):
        made |= kill_in(stage, file, store)
    output = scripted.run("study", file)
    assert "report:" in output
    expected, found = scripted.units(undisturbed), scripted.units(store)
    assert set(found) == set(expected)
    tuned = [key for key in expected if "/adapter/second-tuned/" in key]
    for metrics in (found[key].content["metrics"] for key in tuned):
        assert [point["epoch"] for point in metrics["measured"]] == [0, 1, 2, 2.6667]
        assert all(set(point["loss"]) == set(NAMES) for point in metrics["measured"])
        assert metrics["kept"]["by"] == "held_out"
    assert len(tuned) == 1
    for key in expected:
        assert found[key].content == without_files(expected[key].content, found[key].content), key
    again = attempts(store)
    assert {key: again[key] for key in made} == made, "a unit that is done was made a second time"
    assert not list(FolderStore(store).list("rehearsal/checkpoints/")), (
        "checkpoints of a finished training stay"
    )


def kill_in(stage: Stage, file: Path, store: Path) -> Counter[str]:
    """Kill the study when the stage has a unit done and one under way.

    What is done is not touched by the rerun.

    Answers how often each unit that is done by now was attempted: once, unless a kill met it behind
    its record of calls.
    """
    process = scripted.start("study", file)
    scripted.wait_until(
        lambda: 1 <= len(scripted.units(store, stage)) < TOTAL[stage] and under_way(stage, store),
        process,
    )
    scripted.kill(process)
    done = len(scripted.units(store, stage))
    assert 1 <= done < TOTAL[stage]
    for path in store.rglob("*"):  # from now on, whoever writes a finished unit again is found out
        if path.is_file() and path.relative_to(store).parts[:1] == ("rehearsal",):
            path.chmod(0o444)
    tried = attempts(store)
    return Counter(
        {str(key): tried[str(key)] for key in scripted.units(store) if str(key) in tried}
    )


def under_way(stage: Stage, store: Path) -> bool:
    """Jobs are always under way while their stage is not done.

    A training is once it has a checkpoint.
    """
    return stage is not Stage.ADAPTER or any(
        FolderStore(store).list("rehearsal/checkpoints/second-tuned")
    )


def without_files(expected: dict[str, object], found: dict[str, object]) -> dict[str, object]:
    """Analysis and report quote the study's store; all else must be equal to the letter."""
    return (
        {**expected, "file": found["file"]} if "file" in expected and "file" in found else expected
    )


def attempts(store: Path) -> Counter[str]:
    """How often calls were made for each unit, by the records of what calls cost.

    An attempt that was killed wrote none.
    """
    folder = FolderStore(store)
    records = (scripted.record(folder.read(path)) for path in folder.list("rehearsal/usage/"))
    return Counter(
        record["key"] for record in records if "key" in record and "/probe/" not in record["key"]
    )


@pytest.mark.slow
def test_a_killed_worker_costs_at_most_its_units(tmp_path: Path) -> None:
    store = tmp_path / "store"
    document = scripted.study_document(store, LATENCY_S, engine=ENGINE)
    file = scripted.write_study(tmp_path, document)
    process = scripted.start("study", file)
    scripted.wait_until(
        lambda: 1 <= len(scripted.units(store, Stage.SESSIONS)) < TOTAL[Stage.SESSIONS], process
    )
    done = scripted.units(store)
    scripted.kill_worker(process)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert len(scripted.units(store, Stage.SESSIONS)) == TOTAL[Stage.SESSIONS]
    after, tried = scripted.units(store), attempts(store)
    assert {key: after[key] for key in done} == done, "what was done is not made again"
    assert sum(tried.values()) <= len(tried) + AT_ONCE, "the calls of lost attempts count, too"


@pytest.mark.slow
def test_a_finished_study_makes_no_call(tmp_path: Path) -> None:
    store = tmp_path / "store"
    file = scripted.write_study(tmp_path, scripted.study_document(store))
    scripted.run("study", file)
    before = sorted(path for path in store.rglob("*") if path.is_file())
    process = scripted.start("study", file)
    output, _ = process.communicate()
    assert process.returncode == 0
    assert "report:" in output
    assert sorted(path for path in store.rglob("*") if path.is_file()) == before, (
        "a rerun with nothing owed writes nothing"
    )
