"""Score tables for tests: small made-up studies, and the published one where it is at hand."""

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from cbt_ray.analysis import ScoreRow
from tests.needs import needs

ITEMS = ("agenda", "feedback", "homework")
Key = tuple[str, str, str, int]  # model, variant, patient, session


def made_up(
    score: Callable[[Key, str], int] = lambda key, item: (
        2 + len(key[1] + key[2] + item) % 4 + key[3] % 2
    ),
    reason: Callable[[Key], str | None] = lambda key: None,
    models: Sequence[str] = ("smollm2",),
    variants: Sequence[str] = ("instruct", "tuned"),
    patients: Sequence[str] = ("ada", "ben-li"),
    sessions: int = 3,
    replicates: int = 1,
) -> list[ScoreRow]:
    """The demo's design unless told otherwise: 2 patients x 2 arms x 3 sessions."""
    keys = [
        (m, v, p, s)
        for m in models
        for v in variants
        for p in patients
        for s in range(1, sessions + 1)
    ]
    return [
        _row(key, replicate, score, reason(key))
        for key in keys
        for replicate in range(1, replicates + 1)
    ]


def _row(
    key: Key, replicate: int, score: Callable[[Key, str], int], reason: str | None
) -> ScoreRow:
    model, variant, patient, session = key
    items = {item: None if reason else score(key, item) for item in ITEMS}
    held = reason is None or not reason.startswith(("not_reached", "rejected", "owed"))
    return ScoreRow(
        session_key=f"{model}-{variant}/{patient}/{session}",
        arm=f"{model}-{variant}",
        factors={"model": model, "variant": variant},
        patient=patient,
        replicate=1,
        session=session,
        phase="assessment" if session < 3 else "middle",
        view="plain",
        judge_replicate=replicate,
        rated=reason is None,
        reason=reason,
        items=items,
        total=None if reason else sum(value or 0 for value in items.values()),
        words=120,
        therapist_turns=4 if held else 0,
        messages=8 if held else 0,
        flags=["early_end"] if session == 1 else [],
        stop_reason="end_token" if held else None,
    )


def published() -> list[ScoreRow]:
    """The published scores, from the folder that CBT_RAY_PUBLISHED names."""
    path = Path(os.environ.get("CBT_RAY_PUBLISHED", "")) / "cbt_scores.csv"
    needs("published", "CBT_RAY_PUBLISHED" in os.environ and path.is_file())
    with path.open(encoding="utf-8") as file:
        return [_published_row(number, line) for number, line in enumerate(csv.DictReader(file))]


def _published_row(number: int, line: dict[str, str]) -> ScoreRow:
    model, method = line["group"].split("_")[:2]
    items = {
        name: int(value)
        for name, value in line.items()
        if name not in ("id", "patient_id", "group")
    }
    return ScoreRow(
        session_key=f"{line['group']}/{number}",
        arm=f"{model}-{method}",
        factors={
            "model": model,
            "variant": {"Instruct": "instruct", "Finetune": "tuned"}[method],
        },
        patient=line["patient_id"],
        replicate=1,
        session=int(line["id"].split("_")[0]),
        phase="",
        view="plain",
        judge_replicate=1,
        rated=True,
        items=dict(items),
        total=sum(items.values()),
        messages=20,
    )
