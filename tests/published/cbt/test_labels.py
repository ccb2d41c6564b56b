"""Labels of speakers as people and models write them: recognised, or the session is named and not
imported.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from cbt_ray.__main__ import outcome
from cbt_ray.published.cbt.course import read_course_session
from cbt_ray.published.cbt.messages import INSIDE, NAME_INSIDE, THRICE
from cbt_ray.published.cbt.simulated import read_simulated
from cbt_ray.therapy.session import Speaker
from tests.published.cbt.clone import write_clone

P, T = Speaker.PATIENT, Speaker.THERAPIST
ASKED = [(T, "Hello Robin."), (P, "I am tired."), (T, "Since when?"), (P, "For weeks.")]
PLAIN = (
    "Therapist: Hello Robin.\n\nPatient: I am tired.\n\nTherapist: Since when?\n\nPatient: "
    "For weeks."
)


def turns_of(text: str, patient: str | None = "Robin Smith") -> list[list[tuple[Speaker, str]]]:
    """As either reader reads it."""
    found = []
    for read in (read_simulated, read_course_session):
        session = read("f", text, (), patient)
        assert not any(remark.lost for remark in session.remarks)
        found.append([(turn.speaker, turn.text) for turn in session.written.turns])
    return found


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n\n", " "),
        PLAIN.replace("\n\n", "\n"),
        PLAIN.replace("Therapist:", "**Therapist:**").replace("Patient:", "**Patient:**"),
        PLAIN.replace("Therapist:", "**Therapist**:").replace("Patient:", "__Patient__:"),
        PLAIN.replace("Therapist:", "### Therapist:").replace("Patient:", "### Patient:"),
        PLAIN.upper()
        .replace("HELLO ROBIN", "Hello Robin")
        .replace("I AM TIRED", "I am tired")
        .replace("SINCE WHEN", "Since when")
        .replace("FOR WEEKS", "For weeks"),
        PLAIN.replace("Patient:", "Client:").replace("Therapist:", "Counsellor:"),
        PLAIN.replace("Patient:", "Robin:"),
        PLAIN.replace("Patient:", "Robin Smith:"),
        PLAIN.replace("Patient:", "**Robin:**"),
        PLAIN.replace(":", "\uff1a"),
        PLAIN.replace("Patient:", "Patient :"),
        f"\n{PLAIN}\n",
        f"\ufeff{PLAIN}",
        PLAIN.replace("Patient:", "\u200bPatient:"),
        PLAIN.replace("Patient:", "Patient\xa0:"),
        PLAIN.replace("Patient:", "[00:12] Patient:").replace("Therapist:", "[00:07] Therapist:"),
        PLAIN.replace("Patient:", "Patient (Robin):"),
        PLAIN.replace("Patient:", "Robin (Patient):"),
        PLAIN.replace("Therapist:", "AI Therapist:"),
        PLAIN.replace("Therapist:", "CBT Therapist (AI):"),
        PLAIN.replace("Patient:", "Pat\u0131ent:"),
        PLAIN.replace("Patient: F", "Robin: F").replace("Patient: I", "Robin: I"),
    ],
)
def test_four_turns_by_two_speakers(text: str) -> None:
    assert turns_of(text) == [ASKED, ASKED]


@pytest.mark.parametrize(
    "name", ["R.(o*b", "[Robin] (they)", "Robin: A", "Zo\xeb Straße", "İnci", "\\d+", "Patient"]
)
def test_any_name_can_be_a_label(name: str) -> None:
    for spelt in (name, unicodedata.normalize("NFD", name)):
        assert turns_of(PLAIN.replace("Patient:", f"{spelt}:"), name) == [ASKED, ASKED]


def test_labels_before_a_talk_that_is_in_one_line_are_no_ground_to_take_that_as_one_message() -> (
    None
):
    talk = "Hello. Patient: I am tired. Therapist: Since when? Patient: For weeks."
    for found in turns_of(f"Patient: Hi.\n\nTherapist: {talk}"):
        assert [speaker for speaker, _ in found] == [P, T, P, T, P]


def test_patience_is_no_label_and_a_label_inside_is_said() -> None:
    text = PLAIN.replace("Since when?", "Be patient: it takes time.\nTherapist: said I.")
    session = read_simulated("f", text, (), "Robin")
    assert [turn.speaker for turn in session.written.turns] == [T, P, T, P]
    assert [remark.line for remark in session.remarks if remark.reason == INSIDE] == [6]


@pytest.mark.parametrize(
    "heading",
    ["Session Summary:", "**Session Summary:**", "**Session Summary**:", "### Session Summary:"],
)
def test_a_summary_holds_labels_as_words(heading: str) -> None:
    text = f"{PLAIN}\n\nTherapist: Bye.\n\n{heading}\nPatient: sleeps better\nTherapist: praised it"
    for read in (read_simulated, read_course_session):
        session = read("f", text, (), "Robin")
        assert [turn.speaker for turn in session.written.turns] == [T, P, T, P, T]
        assert session.written.turns[-1].text == "Bye."
        assert session.written.summary == "Patient: sleeps better\nTherapist: praised it"


def test_a_patient_labelled_by_name_has_a_summary_too() -> None:
    text = (
        f"{PLAIN.replace('Patient:', 'Robin:')}\n\nTherapist: See you.\n\nSession Summary:\n- sleep"
    )
    for session in (
        read_simulated("f", text, (), "Robin"),
        read_course_session("f", text, (), "Robin"),
    ):
        assert [turn.speaker for turn in session.written.turns] == [T, P, T, P, T]
        assert session.written.summary == "- sleep"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (PLAIN.replace("Patient:", "Sam:"), "found 'Sam' 2 times"),
        (PLAIN.replace("Therapist:", "Dr. Grey:"), "found 'Dr. Grey' 2 times"),
        (PLAIN.replace("Therapist:", "Bob:").replace("Patient:", "Sam:"), "found 'Bob' 2 times"),
        ("We met and talked about sleep.", "found no label"),
        (
            PLAIN.replace("Therapist:", "Therapeutin:").replace("Patient:", "Patientin:"),
            "found 'Therapeutin' 2 times",
        ),
        (
            PLAIN.replace("Therapist: ", "\u6cbb\u7597\u5e08\uff1a"),
            "found '\u6cbb\u7597\u5e08' 2 times",
        ),
        (PLAIN.replace("Patient:", "R\u043ebin:"), "found 'R\u043ebin' 2 times"),
        (PLAIN.replace("Patient: ", ""), "found the therapist alone"),
        ("Therapist: Hello.\n\nSam: Hi.", "found 'Sam' 1 time"),
        (
            f"Patient: Hi.\n\n{PLAIN.replace('Patient:', 'Rob:')}\n\nTherapist: Bye.",
            "found 'Rob' 2 times",
        ),
        (PLAIN.replace("Therapist:", "Senior Therapist:"), "found 'Senior Therapist' 2 times"),
    ],
)
def test_speakers_that_cannot_be_told_apart_are_named(text: str, found: str) -> None:
    for session in (
        read_simulated("f", text, (), "Robin"),
        read_course_session("f", text, (), "Robin"),
    ):
        lost = [str(remark) for remark in session.remarks if remark.lost]
        assert len(lost) == 1
        assert lost[0].startswith(
            "f: not imported: expected messages of both speakers, labelled Patient"
        )
        assert lost[0].endswith(found)


@pytest.mark.parametrize(
    ("label", "other"), [("Patient", "Rob"), ("Therapist", "Dr. Grey"), ("Therapist", "Therapeut")]
)
def test_a_session_that_says_why_it_ended_is_no_exception(label: str, other: str) -> None:
    end = (
        "\n\nTermination Details:\nReason: Natural Session End\nDetails: take care\n\n\nSession "
        "Summary:\n\nfine\n"
    )
    session = read_simulated("f", PLAIN.replace(label, other) + end, (), "Robin")
    assert [
        remark.reason.endswith(f"found {other!r} 2 times")
        for remark in session.remarks
        if remark.lost
    ] == [True]


def test_a_name_before_a_colon_among_labels_is_words_and_said() -> None:
    text = f"{PLAIN}\n\nTherapist: Who said it?\n\nRobin: it was me, she said."
    session = read_simulated("f", text, (), "Robin Smith")
    assert [turn.speaker for turn in session.written.turns] == [T, P, T, P, T]
    assert [remark.line for remark in session.remarks if remark.reason == NAME_INSIDE] == [11]


def test_three_turns_in_a_row_are_a_remark_of_their_own() -> None:
    text = "Therapist: a\n\nTherapist: b\n\nTherapist: c\n\nPatient: d\n\nPatient: e"
    remarks = read_simulated("f", text).remarks
    assert [remark.line for remark in remarks if remark.reason == THRICE] == [5]


def _session_1(clone: Path) -> Path:
    return next((clone / "CBT_Simulations").glob("*/*Ada*/session_1_*"))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\n", b"\r\n").replace(b"\r\n", b"\n", 1),
        lambda data: data.replace(b"\n", b"\r"),
    ],
)
def test_line_ends_and_byte_order_marks_are_no_words(
    change: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clone = write_clone(tmp_path / "clone", sets=0)
    assert outcome(["import", "cbt", str(clone), "pub.yaml"]) == (0, "")
    before = written_turns()
    file = _session_1(clone)
    file.write_bytes(change(file.read_bytes()))
    assert outcome(["import", "cbt", str(clone), "pub.yaml"]) == (0, "")
    assert written_turns() == before


def written_turns() -> list[object]:
    lines = Path("pub.published/sessions.jsonl").read_text().splitlines()
    return [json.loads(line)["turns"] for line in lines]


def test_of_a_session_that_is_not_imported_nothing_else_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = _session_1(write_clone(tmp_path / "clone"))
    file.write_text(file.read_text().replace("Therapist:", "Therapeut:"))
    assert outcome(["import", "cbt", "clone", "pub.yaml"]) == (0, "")
    said = capsys.readouterr().out
    assert f"{file.name}: not imported: expected messages of both speakers" in said
    assert "no therapist turn" not in said
    assert [
        line
        for line in Path("pub.published/remarks.txt").read_text().splitlines()
        if file.name in line
    ] == [line for line in said.splitlines() if file.name in line]
