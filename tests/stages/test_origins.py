"""Repaired units: nothing that was made from a text outlives it, wherever the repair is killed."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from cbt_ray.__main__ import run
from cbt_ray.errors import Infrastructure, ModelFailure
from cbt_ray.llm import scripted as scripted_model
from cbt_ray.stages import train
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import load_study
from cbt_ray.study.model import Checkpoint
from cbt_ray.therapy import dialogue
from cbt_ray.unit import Stage, Status, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.stages import scripted
from tests.stages.origins import (
    Killed,
    check_consistent,
    killed_at,
    older,
    restless,
    study_file,
    whole,
)

pytestmark = pytest.mark.slow

FIRST = "first-instruct.teresa-lindqvist.r1.s01"


@pytest.fixture(autouse=True)
def other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        scripted_model, "_fingerprint", scripted_model._fingerprint
    )  # put back after the test
    restless()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that has run."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scripted_model, "_fingerprint", scripted_model._fingerprint)
        restless()
        assert run(["study", str(study_file(folder)), "--inline"]) == 0
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """The file of a copy of it."""
    shutil.copytree(finished / "store", tmp_path / "store")
    return study_file(tmp_path)


def path_of(file: Path, stage: Stage, name: str) -> Path:
    (path,) = (file.parent / "store" / "rehearsal" / stage / name).iterdir()
    return path


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(bytes(data))


def lost(path: Path) -> None:
    path.unlink()


HARM: dict[str, tuple[Callable[[Path], None], Stage, str, set[str]]] = {
    "first session of a chain": (
        flipped,
        Stage.SESSIONS,
        FIRST,
        {"sessions", "ratings", "analysis", "report"},
    ),
    "a lost session": (
        lost,
        Stage.SESSIONS,
        FIRST.replace("s01", "s02"),
        {"sessions", "ratings", "analysis", "report"},
    ),
    "a course": (flipped, Stage.COURSES, "p01.s01", {"courses", "dataset", "report"}),
    "a profile": (lost, Stage.PROFILES, "p02", {"courses", "dataset", "report"}),
    "a rating": (
        flipped,
        Stage.RATINGS,
        f"{FIRST}.judge.plain.j1",
        {"ratings", "analysis", "report"},
    ),
    "the analysis": (flipped, Stage.ANALYSIS, "scores", {"analysis"}),
}


@pytest.mark.parametrize("name", HARM)
def test_what_is_made_again_is_followed_by_what_was_made_from_it(name: str, study: Path) -> None:
    harm, stage, unit, followed = HARM[name]
    before = whole(study.parent / "store")
    harm(path_of(study, stage, unit))
    assert run(["study", str(study), "--inline"]) == 0
    check_consistent(study)
    aside = {
        path.split("/")[2] for path in FolderStore(study.parent / "store").list("rehearsal/aside/")
    }
    assert aside - {"profiles"} == followed
    after = whole(study.parent / "store")
    other = "second-instruct.jonas-adeyemi.r1.s03"
    for key in (path for path in before if other in path):
        assert after[key] == before[key], "what has nothing to do with it was made again"


def test_what_comes_out_as_it_was_leaves_everything_else_alone(study: Path) -> None:
    """The dataset is a function of the courses: the same again, so that nothing would be trained
    anew.
    """
    store = study.parent / "store"
    before = whole(store)
    lost(path_of(study, Stage.DATASET, "session"))
    assert run(["study", str(study), "--inline"]) == 0
    assert {key: unit.digest for key, unit in whole(store).items()} == {
        key: unit.digest for key, unit in before.items()
    }
    assert not list(FolderStore(store).list("rehearsal/aside/"))


def test_status_says_what_is_owed_and_why_and_changes_nothing(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FolderStore(study.parent / "store")
    key = path_of(study, Stage.SESSIONS, FIRST).relative_to(study.parent / "store").as_posix()
    unit = whole(study.parent / "store")[key]
    store.delete(key)
    store.put(
        type(unit)(unit.key, {**unit.content, "summary": "Another."}, made_from=unit.made_from)
    )
    before = sorted(store.list(""))
    capsys.readouterr()
    assert run(["status", str(study)]) == 0
    said = capsys.readouterr().out
    rows = {
        line.split()[0]: line.split()
        for line in said.splitlines()
        if line.split()[1:2][0].isdigit()
    }
    assert rows["sessions"][1:5] == ["10", "0", "0", "2"], (
        "the second session of the chain, and the third waits for it"
    )
    assert int(rows["ratings"][4]) >= 3, "those of all three sessions"
    assert f"sessions {FIRST.replace('s01', 's02')}: made from another sessions {FIRST}" in said
    assert sorted(store.list("")) == before
    assert run(["study", str(study), "--inline"]) == 0
    check_consistent(study)


def test_a_session_that_is_rejected_when_it_is_held_anew_leaves_nothing_after_it(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost(path_of(study, Stage.SESSIONS, FIRST))
    with monkeypatch.context() as useless:
        useless.setattr(dialogue, "hold", useless_answers)
        assert run(["simulate", str(study), "--inline", "--set", "minimum.sessions=0"]) == 0
    assert older(study.parent / "store") == []
    assert run(["study", str(study), "--inline", "--set", "minimum.sessions=0"]) == 0
    units = whole(study.parent / "store")
    assert {unit.key.id: unit.status for unit in units.values() if FIRST[:-1] in unit.key.id} == {
        FIRST: Status.REJECTED
    }
    check_consistent(study)

    assert run(["simulate", str(study), "--inline", "--retry-rejected"]) == 0
    assert older(study.parent / "store") == []
    assert run(["study", str(study), "--inline"]) == 0
    check_consistent(study)
    assert len(scripted.units(study.parent / "store", Stage.SESSIONS)) == 12


@pytest.mark.parametrize("name", HARM)
def test_a_repair_that_is_killed_anywhere_leaves_no_unit_older_than_its_origin(
    name: str, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run dies at its first, second, third, ...

    write, so that all of a repair's states are met.
    """
    harm, stage, unit, _ = HARM[name]
    store = study.parent / "store"
    harm(path_of(study, stage, unit))
    for write in range(1, 100):
        with killed_at(write, monkeypatch):
            try:
                code = run(["study", str(study), "--inline"])
            except Killed:
                code = None
        assert older(store) == [], f"killed at write {write}"
        if code == 0:
            break
    assert (code, write > 5) == (0, True)
    check_consistent(study)


def test_a_process_that_is_killed_leaves_no_unit_older_than_its_origin(study: Path) -> None:
    """The same with kill -9, at moments that the store shows."""
    store = study.parent / "store"
    for harm in (flipped, lost, flipped):
        chosen = random.choice(sorted(scripted_paths(store)))
        harm(store / chosen)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.stages.origins", "study", str(study), "--inline"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and not (store / chosen).exists():
            pass
        process.kill()
        process.wait()
        assert older(store) == []
    assert run(["study", str(study), "--inline"]) == 0
    check_consistent(study)


def useless_answers(*_: object) -> NoReturn:
    raise ModelFailure("empty", "the therapist says nothing")


def test_a_model_of_another_dataset_is_trained_again_and_nobody_is_pointed_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Training itself is left out: it ends as one does whose machine is lost."""
    document = scripted.study_document(tmp_path / "store", **scripted.ONE_TUNED)
    file = scripted.write_study(tmp_path, document)
    for command in (["generate", str(file), "--inline"], ["dataset", str(file)]):
        assert run(command) == 0
    bench = Bench(load_study(file), Silent(), inline=True)
    store, key, dataset = (
        bench.store,
        bench.keys.adapter(Checkpoint("first", True)),
        bench.store.get(bench.keys.dataset()),
    )
    assert dataset
    store.put(Unit(key, {"adapter": {}}, made_from={str(dataset.key): dataset.digest}))
    latest = "rehearsal/models/rehearsal-first-tuned/latest.json"
    store.replace(latest, b"{}")
    monkeypatch.setattr(train, "_settle", lambda *_: None)
    assert run(["train", str(file)]) == 0
    assert store.get(key)

    lost(path_of(file, Stage.COURSES, "p02.s02"))
    assert run(["train", str(file)]) == 1, "the course is owed first"
    assert run(["generate", str(file), "--inline"]) == 0
    assert run(["dataset", str(file)]) == 0
    assert (
        f"{key}: made from another dataset session; moved aside; it is trained again" in caplog.text
    )
    begun: list[Checkpoint] = []

    def interrupted(_bench: Bench, made: Checkpoint, *_: object) -> NoReturn:
        begun.append(made)
        assert store.read(latest) is None
        raise Infrastructure("the machine is lost")

    monkeypatch.setattr(train, "_tune", interrupted)
    assert run(["train", str(file)]) == 1
    assert begun == [Checkpoint("first", True)]
    assert {path.split("/")[2] for path in store.list("rehearsal/aside/")} == {
        "dataset",
        "adapter",
        "models",
    }


def scripted_paths(store: Path) -> list[str]:
    return [
        path for path in whole(store) if path.split("/")[1] in ("courses", "sessions", "ratings")
    ]
