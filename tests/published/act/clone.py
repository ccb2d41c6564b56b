"""A made-up clone of the public repository of The Thinking Therapist: its layout and its forms,
none of its words.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.needs import needs

VARIANTS = (
    "llama3_3b_instruct",
    "llama3_3b_instruct_no_COT",
    "sft",
    "sft_answer_only",
    "orpo",
    "orpo_no_COT",
)
EVALUATIONS = "final_evaluations_by_hand"
TABLE = f"{EVALUATIONS}/evaluation_results_with_parsing_health.csv"
NO_FORM = "[Thinking and Answer keywords missing]"
NO_ANSWER = "[Answer not properly formatted or missing]"
TOO_LONG = (
    "[Llama Therapist generation error: The decoder prompt (length 9001) is longer than the "
    "maximum model length of 9000. Make sure of it.]"
)


def published() -> Path:
    """The published part, from the folder that CBT_RAY_PUBLISHED names."""
    path = Path(os.environ.get("CBT_RAY_PUBLISHED", "")) / "act"
    needs("published", "CBT_RAY_PUBLISHED" in os.environ and path.is_dir())
    return path


def exchange(number: int, answer: str, thinking: str | None = None, patient: str = "Hm.") -> str:
    """One turn's part of a full transcript; without a patient's answer it ends there."""
    said = f"Therapist: {answer}\n"
    if thinking is not None:
        said = f"Therapist Thinking:\n{thinking}\n\nTherapist Answer:\n{answer}\n"
    own = f"\nPatient: {patient}\n" if patient else ""
    return f"\n--- Turn {number} ---\n{said}{own}"


def transcript(*exchanges: str, first: str = "It is all grey.") -> str:
    """A full transcript."""
    head = f"--- Turn 0 (Patient Initiation) ---\nPatient: {first}\n"
    return "\n".join((head, *exchanges))


def whole(thinking: str | None = None) -> str:
    """A transcript of 51 messages."""
    return transcript(
        *(exchange(n, f"What of part {n}?", thinking, f"Part {n}.") for n in range(1, 26))
    )


def dialogue(text: str) -> str:
    """What the public code gave its judge: answers alone, without headings."""
    lines: list[str] = []
    silent = False
    for line in text.split("\n"):
        silent = line == "Therapist Thinking:" or (silent and line != "Therapist Answer:")
        if silent or line.startswith("--- "):
            continue
        lines.append("Therapist:" if line == "Therapist Answer:" else line)
    return "\n".join(lines)


def judged(fidelity: int = 2, empathy: int = 5, **other: int) -> str:
    """A judge's text: one score for all items of a form, but for `act_3=0` or `tes_9=1`."""
    acts = [f"item_{n}: Rating: {other.get(f'act_{n}', fidelity)}" for n in range(1, 26)]
    tes = [f"item_{n}: Rating: {other.get(f'tes_{n}', empathy)}" for n in range(1, 10)]
    return "\n".join(
        (
            "Output Form: ACT Fidelity Measure (ACT-FM)",
            *acts,
            "",
            "Output Form: Therapist Empathy Scale (TES)",
            *tes,
        )
    )


def profile(number: int) -> dict[str, str]:
    """A profile; its archetype decides its style."""
    kind = ("The Doubter", "The Planner")[number % 2]
    return {
        "full_scenario_text": f"A patient of kind {kind}.",
        "archetype_name": kind,
        "presenting_problem_detail": "Grey mornings.",
        "interaction_style_name": {"The Doubter": "Doubting", "The Planner": "Planning"}[kind],
        "interaction_style_description": "As it says.",
        "psych_mindedness_level": "Low",
        "profile_summary_for_prompt": f"You are patient {number}, and mornings have been grey.",
        "profile_hash": f"{number:032d}",
    }


def write_clone(
    root: Path,
    patients: int = 2,
    sessions: Mapping[str, str] | None = None,
    variants: Sequence[str] = VARIANTS,
) -> Path:
    """Write a clone, all of it rated; `sessions` are transcripts by `variant/number`."""
    root.mkdir(parents=True, exist_ok=True)
    profiles = [profile(number) for number in range(1, patients + 1)]
    (root / "standardized_patient_profiles.json").write_text(json.dumps(profiles, indent=2))
    rows = []
    for place, variant in enumerate(variants):
        own = root / f"simulation_outputs_{variant}"
        said = root / EVALUATIONS / "full_text_evaluations" / variant
        own.mkdir()
        said.mkdir(parents=True)
        for number in range(1, patients + 1):
            text = (sessions or {}).get(f"{variant}/{number}", whole())
            write_session(own, number, text)
            scores = {"fidelity": place % 4, "empathy": 2 + (place + number) % 5}
            (said / f"eval_session_{number}.txt").write_text(judged(**scores))
            rows.append(score_row(variant, number, **scores))
    write_table(root / TABLE, rows)
    return root


def write_session(folder: Path, number: int, text: str) -> None:
    """The three files of a session."""
    head = f"--- Patient Profile for Simulation {number} ---\n"
    (folder / f"simulation_{number}_full_transcript.txt").write_text(text)
    (folder / f"simulation_{number}_clean_dialogue.txt").write_text(dialogue(text))
    (folder / f"simulation_{number}_patient_profile.txt").write_text(
        head + json.dumps(profile(number))
    )


def score_row(variant: str, number: int, fidelity: int, empathy: int) -> dict[str, str]:
    """A row of the published table."""
    acts = {f"act_fm_item_{n}": str(fidelity) for n in range(1, 26)}
    tes = {f"tes_item_{n}": str(empathy) for n in range(1, 10)}
    return {"session_id": str(number), "model_type": variant, **acts, **tes}


def write_table(file: Path, rows: Sequence[dict[str, str]]) -> None:
    """A table of scores."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    file.write_text(text.getvalue())
