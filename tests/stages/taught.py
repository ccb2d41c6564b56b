"""A study whose sessions people rated by a known rule, and a judge that learns from them: a tiny
model trains on the judge's own prompts in seconds.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cbt_ray.__main__ import run
from cbt_ray.llm.scripted import _PATIENT, _THERAPIST
from cbt_ray.study.model import parted
from tests.stages import scripted
from tests.training.speaking import IGNORED, SAID, write_speaking

WORD = "thought"
"""People give the highest score to a session in which the therapist says it, else the lowest."""
COMPLAINTS = _PATIENT[1:4]
"""What the judge listens to before it learns."""
STEPS = 400
SLIPS = 0.03
"""How often people say the other score."""
SEED, HELD_OUT, LENGTH = 7, 0.4, 120
SCALE = """title: Thoughts
source: "For tests"
licence: none
instructions: Judge what the therapist said.
numbers: [1, 2]
anchors: {1: no, 2: yes}
items:
  thoughts: {title: Thoughts, question: "Is it about thoughts?"}
measures:
  total: {title: Thoughts, sum: all}
"""
PROMPTS = {
    "judge.j2": "Rate.",
    "judge_request.j2": "{{ transcript }}",
    "thoughts/scale.yaml": SCALE,
}
"""Short, so that a tiny model reads them fast."""


def write_reading(folder: Path) -> Path:
    """A tiny model that answers as a judge does, and scores what the patient says."""
    answers = [_answer(score) for score in (1, 2)]
    text = [*SAID, *(_transcript(_session(number)) for number in range(30)), *answers] * 5
    return write_speaking(folder, text, _row, steps=STEPS)


def _row(pieces: Any, draw: random.Random) -> tuple[list[int], list[int]]:
    """A session and an answer to it, in the form of the template."""
    session = _session(draw.randrange(10**6))
    score = 1 + (session["turns"][0]["text"] in COMPLAINTS)
    asked = pieces.encode(f"Rate.\n\n{_transcript(session)}")
    ids = [1, 3, *asked, 4, *pieces.encode(_answer(score)), 2]
    ids, rest = ids[:LENGTH], LENGTH - len(ids)
    return [*ids, *[2] * rest], [*ids, *[IGNORED] * rest]


def _answer(score: int) -> str:
    said = f"{score}: {'yes' if score > 1 else 'no'}"
    return json.dumps({"thoughts": {"justification": said, "score": score}})


def _transcript(session: dict[str, Any]) -> str:
    """As the judge is shown it."""
    turns = session["turns"]
    lines = [f"[{n}] {one['speaker'].title()}: {one['text']}" for n, one in enumerate(turns, 1)]
    return "\n".join([*lines, f"[end of transcript, {len(turns)} turns]"])


def write_rated(
    folder: Path, model: Path, patients: int, recipe: dict[str, Any], *, shuffled: bool = False
) -> Path:
    """The file of a study with one session of each patient, rated by the rule with some slips.

    `shuffled`: scores of patients that are learned from are shuffled among them.
    """
    _write_prompts(folder)
    sessions = [_session(number) for number in range(patients)]
    lines = folder / "sessions.jsonl"
    lines.write_text("".join(f"{json.dumps(one)}\n" for one in sessions))
    file = folder / "study.yaml"
    assert run(["import", "sessions", str(lines), str(file)]) == 0
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | _changes(model, recipe)))
    table = folder / "ratings.csv"
    with table.open("w", newline="") as lines_of:
        rows = csv.writer(lines_of)
        rows.writerow(["arm", "patient", "session", "thoughts"])
        rows.writerows(
            ["bot", who, 1, score] for who, score in _scores(sessions, shuffled=shuffled).items()
        )
    assert run(["import", "ratings", str(table), str(file), "--judge", "people"]) == 0
    return file


def write_unheld(folder: Path, model: Path, recipe: dict[str, Any]) -> Path:
    """The file of a study of 2 arms with 6 patients, whose sessions a script holds."""
    _write_prompts(folder)
    changes = _changes(model, recipe)
    document = scripted.study_document(folder / "store") | {
        **{name: changes[name] for name in ("prompts", "models", "raters", "analysis", "seed")},
        "arms": [{"name": "one"}, {"name": "two", "sampling": {"temperature": 0.1}}],
        "sessions": {"count": 1, "max_messages": 2},
    }
    who = {"profile": "A patient who sleeps badly and has given up what was dear."}
    names = [f"P{number:03d} Novak" for number in range(6)]
    document["patients"] = {"simulated": [{"name": name, **who} for name in names]}
    document["raters"]["people"]["sessions"] = "some"
    document["endpoints"]["own"] = changes["endpoints"]["own"] | {"context": 4096}
    for name in ("imported", "courses"):
        del document[name]
    del document["roles"]["generator"]
    return scripted.write_study(folder, document)


def _write_prompts(folder: Path) -> None:
    for name, text in PROMPTS.items():
        (folder / "prompts" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "prompts" / name).write_text(text)


def _scores(sessions: Sequence[dict[str, Any]], *, shuffled: bool) -> dict[str, int]:
    """Patient -> what people say of the session."""
    draw = random.Random(11)
    scores = {
        one["patient"]: 1 + ((WORD in _said(one)) ^ (draw.random() < SLIPS)) for one in sessions
    }
    if shuffled:
        slugs = {who.lower().replace(" ", "-"): who for who in scores}
        held_out, _ = parted(slugs, SEED, HELD_OUT)
        of_train = [who for slug, who in slugs.items() if slug not in held_out]
        drawn = draw.sample([scores[who] for who in of_train], len(of_train))
        scores |= dict(zip(of_train, drawn, strict=True))
    return scores


def _changes(model: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """Of the study file that the import wrote."""
    own = {"start": str(model), "compare": str(model)}
    rater = {
        **{"endpoint": "own", "scales": ["thoughts"], "model": "reader"},
        **{"justification_chars": [1, 20], "sampling": {"temperature": 1, "max_tokens": 120}},
    }
    return {
        "seed": SEED,
        "prompts": "prompts",
        "endpoints": {
            "own": {"kind": "llama_cpp", "gguf": "finetuned", "context": 1024},
            "server": {"kind": "scripted"},
        },
        "models": {
            "reader": {
                "recipe": scripted.RECIPE | own | recipe,
                "learns": {"ratings": "people", "held_out": HELD_OUT},
            }
        },
        "raters": {
            "people": {"kind": "people", "scales": ["thoughts"]},
            "learned": {**rater, "tuned": True},
            "as-it-was": rater,
        },
        "analysis": {"judge": "learned", "contrasts": []},
    }


def _session(number: int) -> dict[str, Any]:
    draw = random.Random(number)
    turns = [
        {"speaker": "patient", "text": draw.choice(_PATIENT[1:7])},
        {"speaker": "therapist", "text": draw.choice(_THERAPIST)},
    ]
    return {"arm": "bot", "patient": f"P{number:03d} Novak", "turns": turns}


def _said(session: dict[str, Any]) -> str:
    return " ".join(one["text"] for one in session["turns"] if one["speaker"] == "therapist")
