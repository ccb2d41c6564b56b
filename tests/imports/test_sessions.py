"""Anybody's transcripts: read, refused line by line, rated, reported, and exported as they came."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.__main__ import outcome
from cbt_ray.imports.transcript import Transcript, read_sessions
from cbt_ray.study import load_study

TURNS = [
    {"speaker": "Patient", "text": "I feel low.\n\nTherapist: that is my word."},
    {"speaker": "therapist", "text": "Tell me more about it."},
    {"speaker": "patient", "text": "It began in May."},
    {"speaker": "therapist", "text": "What happened then?"},
]


def session(arm: str, patient: str, **more: Any) -> dict[str, Any]:
    return {"arm": arm, "patient": patient, "turns": TURNS, **more}


def transcripts(arms: Sequence[str], **more: Any) -> list[dict[str, Any]]:
    return [
        session(arm, patient, replicate=replicate, number=number, **more)
        for arm in arms
        for patient in ("Ann Lee", "Bo Chen", "Cy Diaz")
        for replicate in (1, 2)
        for number in (1, 2)
    ]


def write(folder: Path, lines: Sequence[Mapping[str, Any] | str]) -> Path:
    file = folder / "own.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return file


def imported(file: Path, study: Path) -> tuple[int, str]:
    return outcome(["import", "sessions", str(file), str(study)])


def by_rule(study: Path) -> None:
    """The study's server answers by rule."""
    document = yaml.safe_load(study.read_text())
    document["endpoints"] = {"server": {"kind": "scripted"}}
    study.write_text(yaml.safe_dump(document))


def test_they_are_rated_and_analysed_like_our_own(tmp_path: Path) -> None:
    study = tmp_path / "own.yaml"
    assert imported(write(tmp_path, transcripts(["human", "bot"])), study) == (0, "")
    by_rule(study)
    assert outcome(["study", str(study), "--inline"]) == (0, "")
    assert outcome(["data", str(study), "--to", str(tmp_path / "out")]) == (0, "")
    analysis = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert analysis["counts"]["rated"] == analysis["counts"]["scheduled"] == 24
    (answer,) = analysis["contrasts"]["primary"]["rows"]
    assert answer["low"] < answer["estimate"] < answer["high"]


def test_what_export_writes_is_imported_as_the_same_sessions(tmp_path: Path) -> None:
    study, again = tmp_path / "own.yaml", tmp_path / "again.yaml"
    whole: dict[str, Any] = {
        "summary": "They met.\u2028And met again.",
        "opening": "They had met.",
        "stop": "farewell",
        "details": "She said bye.",
        "source": {"file": "a.txt", "archive": "box 7"},
        "remarks": ["no audio"],
    }
    written = transcripts(["human", "bot"], **whole)
    assert imported(write(tmp_path, written), study) == (0, "")
    assert outcome(["data", str(study), "--to", str(tmp_path / "out")]) == (0, "")
    exported = tmp_path / "out" / "sessions.jsonl"
    assert imported(exported, again) == (0, "")
    assert sorted(map(repr, read_sessions(exported, Transcript))) == sorted(
        map(repr, read_sessions(write(tmp_path, written), Transcript))
    )


def test_again_is_a_no_op_and_more_is_added(tmp_path: Path, capsys: Any) -> None:
    study, lines = tmp_path / "own.yaml", transcripts(["human", "bot"])
    assert imported(write(tmp_path, lines), study) == (0, "")
    written = study.read_bytes()
    assert imported(write(tmp_path, lines[:3]), study) == (0, "")
    held = load_study(study).imported
    assert held is not None
    assert len(held.sessions) == 24, "what was imported before stays"
    capsys.readouterr()
    assert imported(write(tmp_path, lines), study) == (0, "")
    assert "24 units, 0 of them new" in capsys.readouterr().out
    assert study.read_bytes() == written


def test_what_the_file_lacks_is_absent_and_not_owed(tmp_path: Path, capsys: Any) -> None:
    lines = transcripts(["human", "bot"])
    assert imported(write(tmp_path, lines[1:]), tmp_path / "own.yaml") == (0, "")
    assert outcome(["status", str(tmp_path / "own.yaml")]) == (0, "")
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sessions")]
    assert row.split()[1:] == ["23", "1", "0", "0", "1", "absent"]


def test_one_therapist_is_described_and_three_are_compared_with_the_first(tmp_path: Path) -> None:
    for arms, named in ((["one"], []), (["one", "two", "three"], ["two", "three"])):
        study = tmp_path / f"{len(arms)}.yaml"
        assert imported(write(tmp_path, transcripts(arms)), study) == (0, "")
        contrasts = load_study(study).analysis.contrasts
        assert contrasts is not None
        assert [contrast.name for contrast in contrasts] == named


def test_factors_of_the_file_are_those_of_the_arms(tmp_path: Path) -> None:
    lines = [
        *transcripts(["human"], factors={"kind": "human"}),
        *transcripts(["bot"], factors={"kind": "model"}),
    ]
    assert imported(write(tmp_path, lines), tmp_path / "own.yaml") == (0, "")
    study = load_study(tmp_path / "own.yaml")
    assert [dict(arm.factors) for arm in study.arms] == [{"kind": "human"}, {"kind": "model"}]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "expected JSON"),
        ("[1]", "expected an object"),
        ('{"arm": "a", "arm": "b"}', "'arm' is given twice"),
        (session("A b", "Ann"), "arm: expected at most 31 lower-case letters"),
        (session("a", ""), "patient: expected"),
        (session("a", "Ann", number=0), "number: expected"),
        (session("a", "Ann", sumary="x"), "sumary: unknown field"),
        (session("a", "Ann", stop="bored"), "stop: expected"),
        ({"arm": "a", "patient": "Ann", "turns": []}, "turns: expected"),
        ({"arm": "a", "patient": "Ann", "turns": [{"speaker": "nurse", "text": "x"}]}, "speaker"),
        ({"arm": "a", "patient": "Ann", "turns": [{"speaker": "patient"}]}, "turns.0.text"),
        (session("a", "Ann", summary="\ud800"), "summary: "),
    ],
)
def test_a_line_that_is_none_is_refused_with_its_number(
    tmp_path: Path, line: Any, expected: str
) -> None:
    file = write(tmp_path, [session("a", "Ann"), "", line])
    code, message = imported(file, tmp_path / "own.yaml")
    assert code == 2
    first = message.splitlines()[0]
    assert first.startswith(f"cbt-ray: {file}:3: "), message
    assert expected in first
    assert not (tmp_path / "own.yaml").exists()
    assert not (tmp_path / "runs").exists()


def test_a_session_given_twice_is_refused(tmp_path: Path) -> None:
    code, message = imported(
        write(tmp_path, [session("a", "Ann"), session("a", "Ann")]), tmp_path / "own.yaml"
    )
    assert (code, "own.jsonl:2: expected each session once, line 1 is" in message) == (2, True)


def test_a_study_without_room_says_all_that_it_lacks(tmp_path: Path) -> None:
    study = tmp_path / "own.yaml"
    assert imported(write(tmp_path, transcripts(["human", "bot"])), study) == (0, "")
    more = [session("other", "Dee", number=5, replicate=3)]
    code, message = imported(write(tmp_path, more), study)
    assert code == 2
    fields = [line.split(": ")[2] for line in message.splitlines()]
    assert fields == ["arms", "patients.simulated", "sessions.count", "sessions.replicates"]


def test_remarks_of_the_file_are_counted_and_its_common_origin_is_named(
    tmp_path: Path, capsys: Any
) -> None:
    lines = [
        session("a", "Ann", source={"archive": "box 7", "file": "1"}, remarks=["no audio"]),
        session("a", "Bo", source={"archive": "box 7", "file": "2"}, remarks=["no audio"]),
        session("a", "Cy", source={"archive": "box 7"}) | {"turns": TURNS[:1]},
    ]
    assert imported(write(tmp_path, lines), tmp_path / "own.yaml") == (0, "")
    said = capsys.readouterr().out.splitlines()
    assert "imported, but no audio: 2" in said
    assert "imported, but the therapist says nothing: 1" in said
    held = load_study(tmp_path / "own.yaml").imported
    assert held is not None
    named = "3 sessions of 1 therapist with 3 patients in own.jsonl (archive box 7)"
    assert held.sources == (named,)
