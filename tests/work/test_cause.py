"""Why a unit is owed, as `status` says it: of a study that ran as far as its ratings."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cbt_ray.__main__ import run
from cbt_ray.prompts import HOME
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import load_study
from cbt_ray.unit import Stage, Status, Unit
from cbt_ray.work import keys as module
from cbt_ray.work.keys import Keys, key_of
from cbt_ray.work.workshop import prompts_of
from tests.stages import scripted
from tests.work.golden import run_scripted

RATING = "first-instruct.jonas-adeyemi.r1.s01.judge.plain.j1"
Asked = Callable[..., list[str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that ran."""
    folder = tmp_path_factory.mktemp("finished")
    run_scripted(folder)
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """The file of a copy of it."""
    shutil.copytree(finished / "store", tmp_path / "store")
    file = tmp_path / "study.yaml"
    text = (finished / "study.yaml").read_text()
    file.write_text(text.replace(str(finished), str(tmp_path)))
    return file


@pytest.fixture
def why(study: Path, capsys: pytest.CaptureFixture[str]) -> Asked:
    """What `status` says under its table, once it was asked with these fields of the study file."""

    def asked(*changes: str) -> list[str]:
        before = sorted(FolderStore(study.parent / "store").list(""))
        capsys.readouterr()
        sets = [part for change in changes for part in ("--set", change)]
        assert run(["status", str(study), *sets]) == 0
        said = capsys.readouterr().out.splitlines()
        assert sorted(FolderStore(study.parent / "store").list("")) == before
        (last,) = [n for n, line in enumerate(said) if re.match(r"report +\d", line)]
        assert said[-1].startswith("so far: ")
        return said[last + 1 : -1]

    return asked


def path_of(study: Path, stage: Stage, name: str) -> Path:
    (path,) = (study.parent / "store" / "rehearsal" / stage / name).iterdir()
    return path


def test_each_unit_records_what_its_key_was_made_from(finished: Path) -> None:
    units = scripted.units(finished / "store")
    assert {unit.key.stage for unit in units.values()} == {
        *(Stage.PROFILES, Stage.COURSES, Stage.DATASET, Stage.SESSIONS, Stage.RATINGS)
    }
    for unit in units.values():
        made_from = map(unit.key.parse, unit.made_from)
        said = unit.provenance["determinants"]
        assert key_of("rehearsal", unit.key.stage, unit.key.id, said, made_from) == unit.key


def test_nothing_is_said_of_what_is_done_and_what_was_never_made_is_counted(why: Asked) -> None:
    assert why() == ["never made: analysis 1, report 1"]
    assert why("study=other") == [
        "never made: profiles 2, courses 4, dataset 1, sessions 8, ratings 12, analysis 1, report 1"
    ]


OTHERS = "what it is made from has other keys"
NEAR = "A patient who sleeps badly and has given up what was near and dear."
CHANGES = {
    "raters.judge.strip=paper": [
        "ratings first-instruct.teresa-lindqvist.r1.s01.judge.plain.j1 and 11 more: "
        "raters.judge.strip was summary (the default), is paper"
    ],
    "courses.pairs=4": [
        "courses p01.s01 and 3 more: courses.pairs was 2, is 4 (the default)",
        f"dataset session: {OTHERS} (courses)",
    ],
    "seed=8": [
        "profiles p01 and 1 more: seed was 7, is 8",
        "courses p01.s01 and 3 more: seed was 7, is 8",
        "dataset session: seed was 7, is 8",
        "sessions first-instruct.teresa-lindqvist.r1.s01 and 7 more: seed was 7, is 8",
        "ratings first-instruct.teresa-lindqvist.r1.s01.judge.plain.j1 and 11 more: "
        "seed was 7, is 8",
    ],
    f"patients.simulated.1.profile={NEAR}": [
        "sessions first-instruct.jonas-adeyemi.r1.s01 and 3 more: "
        "patient.profile was … what was dear., is … what was near and dear.",
        f"ratings first-instruct.jonas-adeyemi.r1.s01.judge.plain.j1 and 3 more: "
        f"{OTHERS} (sessions)",
    ],
    "phases.0.goals=Sleep.": [
        "courses p01.s01 and 3 more: phase.goals was Feel better., is Sleep.",
        "dataset session: phases.0.goals was Feel better., is Sleep.",
        "sessions first-instruct.teresa-lindqvist.r1.s01 and 7 more: "
        "phase.goals was Feel better., is Sleep.",
        f"ratings first-instruct.teresa-lindqvist.r1.s01.judge.plain.j1 and 11 more: "
        f"{OTHERS} (sessions)",
    ],
    "raters.judge.replicates=2": [],
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_field_that_changed_is_named_from_what_to_what(change: str, why: Asked) -> None:
    said = [line for line in why(change) if not line.startswith("never made")]
    expected = CHANGES[change]
    assert [line for line in said if "in the store: made by" not in line] == expected


def test_a_few_fields_are_named_and_the_others_counted(why: Asked) -> None:
    changes = [f"sessions.{name}" for name in ("max_messages=9", "max_words=90")]
    changes += ["sessions.min_therapist_turns=1", "sessions.summary_chars=[1,99]"]
    (line,) = (line for line in why(*changes) if line.startswith("sessions"))
    assert line.endswith(
        ": sessions.max_messages was 8, is 9; sessions.min_therapist_turns was 4 (the default), "
        "is 1; sessions.max_words was 5000 (the default), is 90; and 1 more"
    )


def test_a_prompt_that_changed_is_named(study: Path, why: Asked) -> None:
    (study.parent / "own").mkdir()
    (study.parent / "own" / "judge.j2").write_text(
        (HOME / "en" / "judge.j2").read_text() + "Think.\n"
    )
    before = Keys(load_study(study), prompts_of(load_study(study))).prompts.hash("judge.j2")
    (line,) = (line for line in why("prompts=own") if line.startswith("ratings"))
    assert f": prompts.judge.j2 was {before['judge.j2']}, is " in line


def test_a_raised_version_is_named_and_what_follows_was_made_from_others(
    why: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.VERSION, Stage.PROFILES, 3)
    assert why()[:4] == [
        "profiles p01 and 1 more: the version of profiles was raised from 2 to 3",
        f"courses p01.s01 and 1 more: {OTHERS} (profiles)",
        f"courses p01.s02 and 1 more: {OTHERS} (profiles, courses)",
        f"dataset session: {OTHERS} (courses)",
    ]


def test_a_damaged_unit_is_named_as_such_now_and_later(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = path_of(study, Stage.RATINGS, RATING)
    path.write_bytes(path.read_bytes()[:-5])
    for _ in range(2):  # moved aside by the first
        assert run(["status", str(study)]) == 0
        assert f"ratings {RATING}: damaged, moved aside" in capsys.readouterr().out
    assert not path.exists()


def test_what_was_rejected_and_is_tried_again_says_why_it_was(study: Path, why: Asked) -> None:
    path, store = path_of(study, Stage.RATINGS, RATING), FolderStore(study.parent / "store")
    unit = Unit.from_bytes(path.read_bytes())
    path.write_bytes(replace(unit, status=Status.REJECTED, reason="malformed").to_bytes())
    store.set_aside(str(unit.key))
    expected = f"ratings {RATING}: rejected (malformed), moved aside to be tried again"
    assert expected in why()


def test_what_was_moved_aside_for_its_origin_says_so(study: Path, why: Asked) -> None:
    path, store = path_of(study, Stage.RATINGS, RATING), FolderStore(study.parent / "store")
    unit = Unit.from_bytes(path.read_bytes())
    others = dict.fromkeys(unit.made_from, "0" * 16)
    path.write_bytes(replace(unit, made_from=others).to_bytes())
    assert (
        f"ratings {RATING}: made from another sessions {RATING.removesuffix('.judge.plain.j1')}"
        in why()
    )
    store.set_aside(str(unit.key))
    assert (
        f"ratings {RATING}: what it was made from says something else now (sessions), moved aside"
        in why()
    )


def test_of_several_earlier_units_the_closest_is_compared(study: Path, why: Asked) -> None:
    path = path_of(study, Stage.RATINGS, RATING)
    unit = Unit.from_bytes(path.read_bytes())
    known = unit.provenance["determinants"]
    for number, more in enumerate(({"strip": "paper"}, {"strip": "paper", "items": "separately"})):
        said = {**known, "raters.judge": {**known["raters.judge"], **more}}
        key = replace(unit.key, h16=f"{number:016}")
        other = replace(unit, key=key, provenance={"determinants": said})
        path.with_name(key.h16).write_bytes(other.to_bytes())
    lines = why("raters.judge.strip=paper", "raters.judge.justification_chars=[9,99]")
    (line,) = (line for line in lines if line.startswith(f"ratings {RATING}:"))
    assert line.endswith(
        ": raters.judge.justification_chars was [10, 600] (the default), is [9, 99]"
    )


def test_an_input_of_a_stage_that_is_no_more_hinders_nothing(study: Path, why: Asked) -> None:
    path = path_of(study, Stage.RATINGS, RATING)
    unit = Unit.from_bytes(path.read_bytes())
    path.unlink()
    other = replace(
        unit,
        key=replace(unit.key, h16="0" * 16),
        made_from={**unit.made_from, "small/finetune/one/0123456789abcdef": "0" * 64},
    )
    path.with_name("0" * 16).write_bytes(other.to_bytes())
    assert any(line.startswith(f"ratings {RATING}:") for line in why())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"format":1,"sha256":""}\n', "never made: ratings 1, analysis 1, report 1"),
        (b"torn", "never made: ratings 1, analysis 1, report 1"),
        (None, f"ratings {RATING}: an earlier one does not say what its key was made from"),
    ],
)
def test_earlier_units_that_say_nothing_are_left_where_they_are(
    text: bytes | None, expected: str, study: Path, why: Asked
) -> None:
    path = path_of(study, Stage.RATINGS, RATING)
    unit = Unit.from_bytes(path.read_bytes())
    path.unlink()
    other = replace(unit, key=replace(unit.key, h16="0" * 16), provenance={})
    path.with_name("0" * 16).write_bytes(other.to_bytes() if text is None else text)
    assert expected in why()
