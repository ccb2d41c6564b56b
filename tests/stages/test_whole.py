"""The whole study in one process under a scripted model: every command, and what it leaves."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from cbt_ray.__main__ import run
from cbt_ray.llm.build import best_build
from cbt_ray.llm.scripted import ScriptedModel
from cbt_ray.store import open_store
from cbt_ray.store.folder import FolderStore
from cbt_ray.unit import Stage, Status, Unit
from tests.stages import scripted

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a study that has run."""
    folder = tmp_path_factory.mktemp("finished")
    file = scripted.write_study(folder, scripted.study_document(folder / "store"))
    assert run(["study", str(file), "--inline"]) == 0
    return folder / "store"


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """The file of a copy of it."""
    shutil.copytree(finished, tmp_path / "store")
    return scripted.write_study(tmp_path, scripted.study_document(tmp_path / "store"))


def test_the_report_is_one_page_with_every_transcript(study: Path, tmp_path: Path) -> None:
    page = (tmp_path / "store" / "rehearsal" / "report.html").read_text()
    sessions = scripted.units(tmp_path / "store", Stage.SESSIONS)
    assert len(sessions) == 8
    for unit in sessions.values():
        assert "llama_cpp" not in unit.provenance
        assert json.dumps(unit.content["turns"][1]["text"])[1:60] in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "clinical use" in page


def test_summaries_are_carried_into_the_next_session(study: Path, tmp_path: Path) -> None:
    for stage in (Stage.COURSES, Stage.SESSIONS):
        chains: dict[str, dict[int, Unit]] = {}
        for unit in scripted.units(tmp_path / "store", stage).values():
            chains.setdefault(unit.key.id.rsplit(".", 1)[0], {})[unit.content["number"]] = unit
        for chain in chains.values():
            assert chain[1].content["opening"] == ""
            assert chain[2].content["opening"] == chain[1].content["summary"] != ""


def test_status_shows_done_rejected_by_reason_and_owed(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FolderStore(tmp_path / "store")
    session = list(scripted.units(tmp_path / "store", Stage.SESSIONS).values())[-1]
    assert session.key.id.endswith("s02"), "nothing but its rating is made from it"
    store.delete(str(session.key))
    rating = next(iter(scripted.units(tmp_path / "store", Stage.RATINGS).values()))
    store.delete(str(rating.key))
    store.put(
        Unit(
            rating.key,
            {"detail": "nothing"},
            Status.REJECTED,
            "malformed",
            made_from=rating.made_from,
        )
    )
    capsys.readouterr()
    assert run(["status", str(study)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    rows = {line[0]: line for line in lines if line[1].isdigit()}
    assert rows["sessions"][1:5] == ["7", "0", "0", "1"]
    assert rows["ratings"][1:5] == ["6", "1", "0", "1"], "that of the lost session waits for it"
    assert rows["analysis"][1:5] == rows["report"][1:5] == ["0", "0", "0", "1"]
    assert rows["ratings"][5:] == ["1", "malformed"]


def test_another_seed_makes_new_units_and_leaves_the_old(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["status", str(study), "--set", "seed=8"]) == 0
    output = capsys.readouterr().out
    assert "other units lie in the store" in output
    assert next(line.split() for line in output.splitlines() if line.startswith("sessions"))[
        1:5
    ] == ["0", "0", "0", "8"]


def test_export_writes_transcripts_dataset_ratings_and_scores(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    assert run(["data", str(study), "--to", str(folder)]) == 0
    sessions = [json.loads(line) for line in (folder / "sessions.jsonl").read_text().splitlines()]
    assert len(sessions) == 8
    with (folder / "ratings.csv").open() as stream:
        ratings = list(csv.DictReader(stream))
    assert len(ratings) == 8 * 11
    assert {int(row["score"]) for row in ratings} <= set(range(1, 11))
    with (folder / "scores.csv").open() as stream:
        scores = list(csv.DictReader(stream))
    assert len(scores) == 8
    assert all(
        int(row["total"]) == sum(int(row[name]) for name in row if name.startswith("item_"))
        for row in scores
    )
    assert (folder / "dataset" / "train.jsonl").read_text().count("\n") + (
        folder / "dataset" / "held_out.jsonl"
    ).read_text().count("\n") == 6
    assert not (folder / "courses.rejected.jsonl").exists()


def test_chat_says_that_it_is_not_for_clinical_use(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(["I slept badly.", ""])
    monkeypatch.setattr("builtins.input", lambda _prompt: next(said))
    capsys.readouterr()
    assert run(["chat", str(study), "--arm", "first-instruct"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Not for clinical use" in lines[0]
    assert lines[1].startswith("first-instruct: ")
    assert len(lines) == 2


def test_too_few_valid_sessions_end_with_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every answer is of no use: all sessions are rejected or not reached, and nothing is trained
    on.
    """
    document = scripted.study_document(tmp_path / "store")
    document["endpoints"] = {"script": {"kind": "scripted", "invalid": 1.0}}
    document["courses"] = {**document["courses"], "attempts": 2}
    file = scripted.write_study(tmp_path, document)
    assert run(["study", str(file), "--inline"]) == 3
    assert "minimum.courses" in capsys.readouterr().err
    assert not scripted.units(tmp_path / "store", Stage.DATASET)
    profiles = scripted.units(tmp_path / "store", Stage.PROFILES)
    assert all(unit.status is Status.REJECTED for unit in profiles.values())
    assert run(["generate", str(file), "--inline"]) == 3, (
        "rejected is terminal: a rerun makes no call and says the same"
    )


def test_rejected_units_are_tried_again_when_asked(tmp_path: Path) -> None:
    document = scripted.study_document(tmp_path / "store")
    document["endpoints"] = {"script": {"kind": "scripted", "invalid": 1.0}}
    file = scripted.write_study(tmp_path, document)
    assert run(["generate", str(file), "--inline"]) == 3
    before = scripted.units(tmp_path / "store", Stage.PROFILES)
    assert run(["generate", str(file), "--inline", "--retry-rejected"]) == 3
    aside = list(FolderStore(tmp_path / "store").list("rehearsal/aside/"))
    assert len(aside) == len(before) == 3


def test_the_page_is_that_of_the_study_file_at_hand(study: Path, tmp_path: Path) -> None:
    page = tmp_path / "store" / "rehearsal" / "report.html"
    first = page.read_bytes()
    assert run(["study", str(study), "--inline", "--set", "seed=8"]) == 0
    assert page.read_bytes() != first
    assert run(["report", str(study)]) == 0
    assert b"\nseed: 7\n" in page.read_bytes()
    assert b"\nseed: 8\n" not in page.read_bytes()


def test_what_was_concluded_without_rejected_ratings_is_concluded_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = scripted.write_study(tmp_path, scripted.study_document(tmp_path / "store"))
    assert run(["simulate", str(file), "--inline"]) == 0
    with monkeypatch.context() as useless:
        useless.setattr(ScriptedModel, "_text", lambda *_: "")
        assert run(["evaluate", str(file), "--inline"]) == 0
        assert run(["report", str(file)]) == 0
        assert _rated(tmp_path) == 0
        assert run(["evaluate", str(file), "--inline", "--set", "minimum.ratings=1"]) == 3, (
            "a rating without a total is none"
        )
        assert run(["evaluate", str(file), "--inline", "--retry-rejected"]) == 0
    assert _aside(tmp_path) == {"ratings"}, "they were rejected as before: the same is concluded"
    assert run(["evaluate", str(file), "--inline", "--retry-rejected"]) == 0
    assert _aside(tmp_path) == {"ratings", "analysis", "report"}
    assert _rated(tmp_path) == 8


def _rated(folder: Path) -> int:
    (analysis,) = scripted.units(folder / "store", Stage.ANALYSIS).values()
    return int(analysis.content["analysis"]["counts"]["rated"])


def _aside(folder: Path) -> set[str]:
    return {path.split("/")[2] for path in FolderStore(folder / "store").list("rehearsal/aside/")}


def test_sigterm_ends_the_run_at_once_with_exit_code_1(tmp_path: Path) -> None:
    file = scripted.write_study(tmp_path, scripted.study_document(tmp_path / "store", latency=0.3))
    process = scripted.start("study", file, "--inline")
    scripted.wait_until(
        lambda: len(scripted.units(tmp_path / "store", Stage.COURSES)) >= 1, process
    )
    process.terminate()
    output, _ = process.communicate()
    assert process.returncode == 1
    assert output.strip().splitlines()[-1].startswith("cbt-ray: stopped by SIGTERM")
    assert len(scripted.units(tmp_path / "store", Stage.COURSES)) < 6


@pytest.mark.llama
@pytest.mark.slow
def test_more_threads_than_cores_do_not_hang_the_engine(tmp_path: Path) -> None:
    """A worker wants more CPUs than the machine has."""
    remote = {"kind": "llama_cpp", "gguf": scripted.EMBEDDED, "threads": 64}
    document = scripted.study_document(tmp_path / "store")
    document["endpoints"] = {**document["endpoints"], "wide": remote}
    document["roles"] = {
        **document["roles"],
        "generator": {"endpoint": "wide", "sampling": {"max_tokens": 1}, "attempts": 1},
    }
    document["courses"] = {**document["courses"], "attempts": 1}
    file = scripted.write_study(tmp_path, {**document, "engine": {}})
    scripted.run("generate", file, expect=3)
    made = scripted.units(tmp_path / "store", Stage.PROFILES).values()
    assert {unit.provenance["llama_cpp"] for unit in made} == {str(best_build())}


@pytest.mark.s3
def test_a_study_in_s3_has_the_keys_and_contents_of_one_in_a_folder(
    study: Path, tmp_path: Path, s3_url: str
) -> None:
    expected = scripted.units(tmp_path / "store")
    assert run(["study", str(study), "--inline", "--set", f"store={s3_url}"]) == 0
    store = open_store(s3_url)
    paths = [path for path in store.list("rehearsal/") if path.split("/")[1] in set(Stage)]
    assert set(paths) == set(expected)
    for path in paths:
        found = Unit.from_bytes(store.read(path) or b"")
        assert found.content == expected[path].content
    assert run(["status", str(study), "--set", f"store={s3_url}"]) == 0
