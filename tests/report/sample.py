"""A report's data as the stages would fill it, with text that tries to break out of the page."""

from collections.abc import Sequence
from typing import Any

from cbt_ray.analysis import ScoreRow, analyse
from cbt_ray.report import (
    CostRow,
    Notice,
    Provenance,
    ReportData,
    ReportedRating,
    ReportedSession,
    StageRow,
    TrainingRow,
)

EVIL = "</script><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\"> &amp; \u2028 {{ 7 * 7 }}"


def sample(rows: Sequence[ScoreRow], **more: Any) -> ReportData:
    """One page's data; every text that a model or a user could have written is hostile."""
    fields: dict[str, Any] = {
        "study": "demo",
        "seed": 7,
        "analysis": more.pop("analysis", None) or analyse(rows),
        "description": f"A study {EVIL}",
        "notices": [Notice("The embedded model's scores show that the pipeline works and nothing else.", 90)],
        "sessions": sessions_of(rows),
        "stages": [StageRow("courses", 11, {"too_short": 1}, not_reached=1), StageRow("sessions", 12, owed=2)],
        "costs": [CostRow("courses", 120, 30_000, 22_000, None, 60.2, {"rate_limit": 2}), CostRow("ratings", 5, 1, 1, 0.25, 1)],
        "training": [TrainingRow("smollm2", 40, 2.079, 1.883, [(1, 2.1), (2, 2.0), (3, 1.9)], {"gguf sha256": "ab" * 32})],
        "provenance": Provenance(
            {"python": "3.11"}, {"judge.j2": "0f" * 8}, {"judge": EVIL}, {"gguf": "cd" * 32}, f"study: {EVIL}"
        ),
    }
    return ReportData(**(fields | more))


def sessions_of(rows: Sequence[ScoreRow], turns: int = 8, words: str = EVIL) -> list[ReportedSession]:
    """One session for each key in the rows, with a rating for each row of it."""
    groups: dict[str, list[ScoreRow]] = {}
    for row in rows:
        groups.setdefault(row.session_key, []).append(row)
    return [_session(group, turns, words) for group in groups.values()]


def _session(group: Sequence[ScoreRow], count: int, words: str) -> ReportedSession:
    row = group[0]
    turns = [
        {"speaker": ("patient", "therapist")[n % 2], "text": f"{('patient', 'therapist')[n % 2]} says {words}"}
        for n in range(count)
    ]
    held = {"patient": row.patient, "number": row.session, "phase": row.phase, "opening": words, "turns": turns, "summary": words}
    return ReportedSession(
        key=row.session_key,
        arm=row.arm,
        patient=row.patient,
        replicate=row.replicate,
        number=row.session,
        phase=row.phase,
        session=held if row.messages else None,
        stop_reason=row.stop_reason,
        flags=row.flags,
        ratings=[_rating(one, words) for one in group],
        reason=row.reason,
    )


def _rating(row: ScoreRow, words: str) -> ReportedRating:
    items = {
        item: {"word": "Good", "score": score, "justification": words, "reason": None if score else "invalid"}
        for item, score in row.items.items()
    }
    return ReportedRating(row.view, row.judge_replicate, items, row.total, row.reason, row.judge, row.kind)
