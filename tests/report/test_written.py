"""The report as a stage writes it: from a store, in linear time, with its transcripts where they
are wanted.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.analysis.document import to_json
from cbt_ray.report import ReportedSession, render
from cbt_ray.report.transcripts import CALL
from cbt_ray.stages.analyse import analysis_of
from cbt_ray.stages.evidence import Reading, gather
from cbt_ray.stages.methods import methods_of
from cbt_ray.stages.report import write_report
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import load_study
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.calls import A_SECOND, calls_of
from tests.report.stored import stored
from tests.stages import scripted

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Unit]:
    return stored(tmp_path_factory.mktemp("large"))


def test_six_hundred_sessions_from_a_store_in_three_seconds(large: tuple[Bench, Unit]) -> None:
    bench = Bench(large[0].study, Silent())  # whose keys nobody has derived yet
    where: list[str] = []

    def page() -> None:
        analysis = bench.store.get(bench.keys.analysis())
        assert analysis is not None
        where.append(render(gather(bench, Reading(bench.keys, bench.store), analysis)).where)

    assert calls_of(page) < 3 * A_SECOND
    assert where == ["beside"]


def test_each_unit_is_read_once(large: tuple[Bench, Unit], monkeypatch: pytest.MonkeyPatch) -> None:
    bench, analysis = large
    read: list[str] = []
    original = FolderStore.read

    def counted(store: FolderStore, path: str) -> bytes | None:
        read.append(path)
        return original(store, path)

    monkeypatch.setattr(FolderStore, "read", counted)
    data = gather(bench, Reading(bench.keys, bench.store), analysis)
    assert len(read) == len(set(read)) == 600 + 600 + 1
    assert len(data.sessions) == 600
    assert [rating.total for rating in data.sessions[0].ratings] == [66]


def test_flags_and_reasons_are_those_of_the_scores(large: tuple[Bench, Unit]) -> None:
    bench, analysis = large
    rows = {row["session_key"]: row for row in analysis.content["rows"]}
    sessions = gather(bench, Reading(bench.keys, bench.store), analysis).sessions
    assert any(session.flags for session in sessions)
    assert all(list(session.flags) == rows[session.key]["flags"] for session in sessions)


# ---- a small study, run --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with probes that has run, and ratings by a person."""
    folder = tmp_path_factory.mktemp("probed")
    judge = {"replicates": 2, "probes": {"which": ["empty"], "sessions": 2}}
    document = scripted.study_document(folder / "store", judge=judge)
    del document["imported"]  # an import writes its own
    file = scripted.write_study(folder, document)
    assert run(["study", str(file), "--inline"]) == 0
    sessions = list(scripted.units(folder / "store", Stage.SESSIONS))
    table = folder / "people.csv"
    items = list(next(iter(rows_of(folder)))["items"])
    lines = [
        ",".join(["session_key", *items]),
        *(",".join([key, *["5"] * len(items)]) for key in sessions),
    ]
    table.write_text("\n".join(lines) + "\n")
    assert (
        run(["import", "ratings", str(table), str(file), "--judge", "Anna", "--kind", "human"]) == 0
    )
    assert run(["study", str(file), "--inline"]) == 0
    return file


def rows_of(folder: Path) -> list[dict[str, Any]]:
    units = scripted.units(folder / "store", Stage.ANALYSIS)
    return [row for unit in units.values() for row in unit.content["rows"]]


def sessions_of(file: Path) -> list[ReportedSession]:
    bench = Bench(load_study(file), Silent())
    analysis = bench.store.get(bench.keys.analysis())
    assert analysis is not None
    return list(gather(bench, Reading(bench.keys, bench.store), analysis).sessions)


def test_own_replicates_probes_and_people_stand_beside_each_session(probed: Path) -> None:
    sessions = sessions_of(probed)
    names = [
        [(r.judge, r.view, r.judge_replicate) for r in session.ratings] for session in sessions
    ]
    own = [("judge", "plain", 1), ("judge", "plain", 2)]
    person = [("anna", "plain", 1)]
    assert sorted(names, key=len)[0] == own + person
    assert sorted(names, key=len)[-1] == [*own, ("judge", "probe.empty", 1), *person]
    people = [
        rating for session in sessions for rating in session.ratings if rating.judge == "anna"
    ]
    assert {rating.kind for rating in people} == {"human"}
    assert {rating.total for rating in people} == {5 * 11}


def test_methods_are_those_of_what_was_made(probed: Path) -> None:
    bench = Bench(load_study(probed), Silent())
    methods = methods_of(bench, Reading(bench.keys, bench.store).units)
    assert [scale.name for scale in methods.scales] == ["ctrs"]
    assert {one.name for one in methods.speakers} == {
        *("patient", "summariser", "first-instruct", "second-instruct", "judge"),
    }, "the generator was not asked: nobody is trained"
    assert all(one.model for one in methods.speakers)
    judge, person = methods.raters
    assert (judge.name, judge.kind, judge.ratings) == ("judge", "model", 16)
    assert (judge.opened, judge.opened_read) == (4, 0)
    assert judge.who == next(one.model for one in methods.speakers if one.name == "judge")
    assert (person.name, person.kind, person.who, person.ratings) == ("anna", "human", "", 8)
    assert (person.opened, person.opened_read) == (4, None)
    assert methods.sessions == bench.study.sessions
    assert methods.held
    assert methods.rated
    assert methods.held.first <= methods.held.last <= methods.rated.last
    assert methods.trained == []
    assert len(methods.code) == 1


def page_of(file: Path) -> Path:
    return file.parent / "store" / "rehearsal" / "report.html"


def beside(file: Path) -> list[Path]:
    return sorted((page_of(file).parent / "report.transcripts").glob("*.js"))


def test_transcripts_inside_beside_and_none(probed: Path) -> None:
    said = scripted.units(probed.parent / "store", Stage.SESSIONS)
    texts = [
        json.dumps(unit.content["turns"][1]["text"], ensure_ascii=False)[1:40]
        for unit in said.values()
    ]
    assert run(["report", str(probed), "--transcripts", "inside"]) == 0
    assert all(text in page_of(probed).read_text() for text in texts)
    assert beside(probed) == []
    assert run(["report", str(probed), "--transcripts", "beside"]) == 0
    assert not any(text in page_of(probed).read_text() for text in texts)
    assert all(text in "".join(file.read_text() for file in beside(probed)) for text in texts)
    id_ = re.search(r'"id":"([0-9a-f]{16})"', page_of(probed).read_text())
    assert id_
    assert all(file.read_text().startswith(f'{CALL}("{id_[1]}",') for file in beside(probed))
    assert run(["report", str(probed), "--transcripts", "none"]) == 0
    assert beside(probed) == []
    assert not any(text in page_of(probed).read_text() for text in texts)


def test_a_report_that_stands_is_not_written_again_and_one_that_lost_a_file_is(
    probed: Path,
) -> None:
    bench = Bench(load_study(probed), Silent())
    write_report(bench, "beside")
    written = page_of(probed).stat().st_mtime_ns
    write_report(bench)
    assert page_of(probed).stat().st_mtime_ns == written
    beside(probed)[0].unlink()
    write_report(bench, "beside")
    assert beside(probed)


def test_analysis_json_lies_beside_the_page(probed: Path) -> None:
    bench = Bench(load_study(probed), Silent())
    write_report(bench)
    unit = bench.store.get(bench.keys.analysis())
    assert unit is not None
    document = json.loads((page_of(probed).parent / "tables" / "analysis.json").read_text())
    assert document == to_json(analysis_of(bench, unit))
