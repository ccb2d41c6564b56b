"""A made-up clone of the public repository: its layout and its forms, none of its words."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.needs import needs

ITEMS = (
    "Agenda",
    "Feedback",
    "Understanding",
    "Interpersonal Effectiveness",
    "Collaboration",
    "Pacing and Efficient Use of Time",
    "Guided Discovery",
    "Focusing on Key Cognitions or Behaviors",
    "Strategy for Change",
    "Application of Cognitive-Behavioral Techniques",
    "Homework",
)
GROUPS = ("Llama_Finetune_Simulation_Nov_6", "Llama_Instruct_Simulation_Nov_2")
PATIENTS = ("Ada Lovell", "Ben Okri")
CHARACTERISTICS = {
    "Age": "26-35",
    "Gender": "Female",
    "Ethnicity": "None said",
    "Education": "High School",
    "Occupation": "Baker",
    "Symptom_Severity": "Mild",
    "Engagement_Level": "Low",
    "Life_Events": ["A move", "A fall (e.g., from a ladder, or a roof)"],
    "Family_Background": "Large",
    "Hobbies_Interests": ["Chess"],
    "Social_Support": "Friends",
    "Personality_Traits": ["Quiet", "Curious"],
    "Coping_Mechanisms": ["Walks"],
}


def published() -> Path:
    """The published part, from the folder that CBT_RAY_PUBLISHED names."""
    path = Path(os.environ.get("CBT_RAY_PUBLISHED", "")) / "cbt"
    needs("published", "CBT_RAY_PUBLISHED" in os.environ and path.is_dir())
    return path


def simulated(
    number: int, name: str, turns: Sequence[tuple[str, str]], passed: str = "", **ending: str
) -> str:
    """A simulated session's file.

    `ending`: reason, details, limit (an asterisked line), summary.
    """
    first = f"Hello, I'm {name}, and all of this is new to me."
    if passed:
        first = (
            f"Hi, I'm {name}. This is my {number} CBT session. Last time we talked about: {passed}"
        )
    text = f"Session Number: {number}\n\nPatient: {first}\n\n"
    text += "".join(f"{speaker}: {words}\n\n" for speaker, words in turns)
    text += f"****Session Terminated: {ending['limit']}****\n" if "limit" in ending else ""
    if "reason" in ending:
        text += (
            f"\nTermination Details:\nReason: {ending['reason']}\nDetails: {ending['details']}\n"
        )
        if ending["reason"] == "Critical Error":
            return text
        text += "\n"
    return text + f"\nSession Summary:\n\n{ending.get('summary', 'A short summary.')}\n"


FAREWELL = {"reason": "Natural Session End", "details": "Detected end phrase: '\\btake care\\b'"}


def talk(number: int, exchanges: int = 3) -> list[tuple[str, str]]:
    """Turns behind the patient's first: therapist first and last."""
    said = []
    for place in range(exchanges):
        said.append(
            (
                "Therapist",
                f"How was part {place} of week {number}?\n\n- think of mornings\n- and of evenings",
            )
        )
        said.append(("Patient", f"Part {place} of week {number} was grey, like the one before it."))
    return [*said[:-1], ("Patient", "Fine."), ("Therapist", "Take care until we meet again.")]


def course(number: int, passed: str, summary: str) -> str:
    """A course session's transcript: the second and third part meet in two turns by the
    therapist.
    """
    lead = f"Patient: Hi, I'm back for session {number}. "
    lead += f"Here is the summary you provided me at the end of our last session:\n\n{passed}\n\n"
    own = "Patient: Hello, my name is Kim. I'm here for my first therapy session.\n\n"
    parts = [
        f"Therapist: Welcome to session {number}. Our agenda is sleep.\n\nPatient: I slept badly.",
        "Therapist: Let us look at that thought.\n\nPatient: It says that I fail.\n\nTherapist: "
        "Always?",
        "Therapist: Here are two columns:\n1. for\n2. against\n\nPatient: I see.",
        f"Therapist: Until next week, keep the record.\n\nSession Summary:\n{summary}",
    ]
    return (lead if number > 1 else own) + "".join(f"{part}\n\n" for part in parts)


def write_clone(
    root: Path,
    sets: int = 2,
    sessions: int = 3,
    groups: Sequence[str] = GROUPS,
    patients: Sequence[str] = PATIENTS,
) -> Path:
    """Write a clone: so many sets and sessions, simulations of these groups and patients, all of
    them rated.
    """
    for one in range(1, sets + 1):
        write_set(root / "Synthetic_Transcripts" / f"depression_set_{one}", one, sessions)
    rows = []
    for group in groups:
        for place, patient in enumerate(patients):
            write_chain(
                root / "CBT_Simulations" / group / f"CBT_Depression_Simulations_{patient}",
                patient,
                sessions,
                place,
            )
            ids = {number: session_id(number, place) for number in range(1, sessions + 1)}
            rows += [score_row(one, group, patient, 1 + number % 7) for number, one in ids.items()]
    if rows:
        write_scores(root / "Code" / "evaluation_results" / "all_scores_with_patients.csv", rows)
    return root


def write_set(folder: Path, number: int, sessions: int) -> None:
    """A synthetic patient and its course, with the parts of a session beside it."""
    folder.mkdir(parents=True)
    profile = (
        f"Patient Profile: Kim Nr{number} (They/Them)\n\nBackstory:\nKim bakes and sleeps "
        "badly \u2013 since the fall."
    )
    (folder / "patient_profile.json").write_text(
        json.dumps({"profile": profile, "characteristics": CHARACTERISTICS}, indent=2)
    )
    passed = ""
    for session in range(1, sessions + 1):
        summary = (
            f"- Main topics of session {session}: sleep, and the fall\n- Homework: a record "
            f"of session {session}"
        )
        text = course(session, passed, summary)
        (folder / f"session_{session}.json").write_text(
            json.dumps({"transcript": text, "word_count": len(text.split())}, indent=2)
        )
        passed = summary
    (folder / "session_1_part_1.json").write_text("{}")


def session_id(number: int, place: int = 0) -> str:
    """What a session's file is called, by the place of its patient among the patients."""
    return f"{number}_20241102_1{place}00{number:02d}"


def write_chain(folder: Path, patient: str, sessions: int, place: int) -> None:
    """A simulated chain."""
    folder.mkdir(parents=True)
    passed = ""
    for number in range(1, sessions + 1):
        summary = (
            f"{patient} spoke of the mornings in week {number}.\n\n- Homework: count the "
            f"mornings of week {number}"
        )
        text = simulated(number, patient, talk(number), passed, **FAREWELL, summary=summary)
        (folder / f"session_{session_id(number, place)}.txt").write_text(text)
        passed = f"Session Summary:\n\n{summary}"


def score_row(session: str, group: str, patient: str, score: int) -> dict[str, str]:
    """A row of a score table."""
    said = json.dumps({item: f'{item}: because of "this"' for item in ITEMS})
    return {
        "id": session,
        "patient_id": patient,
        "group": group,
        **dict.fromkeys(ITEMS, str(score)),
        "justifications": said,
    }


def write_scores(file: Path, rows: Sequence[dict[str, str]]) -> None:
    """A score table."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    file.write_text(text.getvalue())


def document(study: Path) -> dict[str, Any]:
    """A study file as it stands."""
    found = yaml.safe_load(study.read_text())
    assert isinstance(found, dict)
    return found
