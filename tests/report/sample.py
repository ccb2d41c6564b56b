"""A report's data as the stages would fill it, with text that tries to break out of the page."""

import math
from collections.abc import Sequence
from typing import Any

from cbt_ray.analysis import ScoreRow, analyse
from cbt_ray.analysis.notice import Notice
from cbt_ray.rating.judge import ItemRating
from cbt_ray.rating.measure import Measure
from cbt_ray.rating.scale import Item, Scale, Step
from cbt_ray.report import (
    AskedModel,
    CheckRow,
    CostRow,
    Curves,
    FileRow,
    Methods,
    Period,
    Provenance,
    RaterRow,
    ReportData,
    ReportedCheckpoint,
    ReportedRating,
    ReportedSession,
    StageRow,
    TrainingRow,
)
from cbt_ray.study.endpoint import Role
from cbt_ray.study.patients import SimulatedPatient
from cbt_ray.study.protocol import Sessions
from cbt_ray.study.recipe import Recipe
from cbt_ray.therapy.session import Session, Speaker, Turn
from cbt_ray.training.measured import Kept, Point

EVIL = (
    "</script><script>document.title='broken'</script><img src=x "
    "onerror=\"document.title='broken'\"> &amp; \u2028 {{ 7 * 7 }}"
)


def sample(rows: Sequence[ScoreRow], **more: Any) -> ReportData:
    """One page's data; every text that a model or a user could have written is hostile."""
    fields: dict[str, Any] = {
        "study": "demo",
        "seed": 7,
        "analysis": more.pop("analysis", None) or analyse(rows),
        "description": f"A study {EVIL}",
        "notices": [
            Notice("demo", "The embedded model's scores show that the pipeline works.", 90)
        ],
        "sessions": sessions_of(rows),
        "stages": [
            StageRow("courses", 11, {"too_short": 1}, not_reached=1),
            StageRow("sessions", 12, owed=2),
        ],
        "costs": [
            CostRow("courses", 120, 30_000, 22_000, None, 60.2, {"rate_limit": 2}),
            CostRow("ratings", 5, 1, 1, 0.25, 1),
        ],
        "training": trainings(),
        "methods": methods(),
        "provenance": Provenance(
            {"python": "3.11"},
            {"judge.j2": "0f" * 8},
            {"judge": EVIL},
            {"gguf": "cd" * 32},
            f"study: {EVIL}",
        ),
    }
    return ReportData(**(fields | more))


def methods() -> Methods:
    """All that a study knows of its methods; every text in it is hostile."""
    steps = (Step(0, "absent", EVIL), Step(1, f"there {EVIL}"))
    items = (
        Item("agenda", f"Agenda {EVIL}", f"Was there one? {EVIL}", "words", steps),
        Item("sighs", "Sighs", EVIL, "count", own=True),
    )
    total = Measure("total", f"Total {EVIL}", "sum", (("agenda",),))
    scale = Scale("own", f"Own scale {EVIL}", EVIL, EVIL, items, (total,), "words", steps, EVIL)
    recipe = Recipe(start="org/base", compare="org/base", licence=EVIL, revision=EVIL)
    return Methods(
        scales=[scale],
        raters=[RaterRow("judge", "model", EVIL, 12, f"all of it {EVIL}")],
        patients=[SimulatedPatient(name="Ada Lund", profile=f"Sleeps badly. {EVIL}")],
        sessions=Sessions(count=4),
        speakers=[AskedModel(f"patient {EVIL}", EVIL, Role(endpoint="script"))],
        trained=[ReportedCheckpoint(f"smollm2 tuned {EVIL}", True, recipe, "ab" * 32)],
        imported=[EVIL],
        held=Period("2026-03-01T09:00:00+00:00", "2026-03-02T09:00:00+00:00"),
        rated=Period("2026-03-05T09:00:00+00:00", "2026-03-05T10:00:00+00:00"),
        code=["0.1.0"],
        llama_cpp=["0.3.36 amx", "0.3.36 v3"],
    )


def trainings() -> list[TrainingRow]:
    """A short training that was taken up twice and broke down once, a long one, and an export.

    Names are hostile.
    """
    return [
        _tuned(f"smollm2 tuned {EVIL}", 60, [20, 41]),
        _tuned("qwen tuned", 1900, []),
        TrainingRow("smollm2 instruct"),
    ]


def _tuned(name: str, steps: int, resumed: list[int]) -> TrainingRow:
    every = range(1, steps + 1)
    noise = [math.sin(7.3 * step) for step in every]
    loss = [
        None if step == 33 else 1.9 + 0.3 / (1 + 8 * step / steps) + 0.04 * noise[step - 1]
        for step in every
    ]
    curves = Curves(
        loss=list(zip(every, loss, strict=True)),
        grad_norm=[(step, 0.8 + 0.5 * abs(noise[step - 1])) for step in every],
        tokens_per_second=[(step, 104_000 + 9000 * noise[step - 1]) for step in every],
        memory_gib=[(step, 17.2 + 0.5 * (step > 9)) for step in every],
        resumed=resumed,
    )
    checks = [
        CheckRow("merged_kl", True, 1.4e-6, "at most 1e-05 a token"),
        CheckRow("first_tokens", False, {"equal": 19, "prompts": 20}, EVIL),
        CheckRow("q8_0_agreement", None, 0.9731),
    ]
    files = [
        FileRow("model-q8_0.gguf", "ab" * 32, 8_540_000_000),
        FileRow(f"config.json {EVIL}", "cd" * 32, 712),
    ]
    measured = (60_000, 104_412.7, 17.7, 4210.0)
    losses = [
        Point(steps * n // 6, n / 2, {"train": 2.2 - 0.3 * n, "held_out": 2.1 - n / 9 + n * n / 40})
        for n in range(7)
    ]
    return TrainingRow(
        *(name, steps, losses, Kept(losses[2].step, losses[2].epoch, "held_out")),
        *(*measured, curves, checks, files, {"base_sha256": "ef" * 32}),
    )


def sessions_of(
    rows: Sequence[ScoreRow], turns: int = 8, words: str = EVIL
) -> list[ReportedSession]:
    """One session for each key in the rows, with a rating for each row of it."""
    groups: dict[str, list[ScoreRow]] = {}
    for row in rows:
        groups.setdefault(row.session_key, []).append(row)
    return [_session(group, turns, words) for group in groups.values()]


def _session(group: Sequence[ScoreRow], count: int, words: str) -> ReportedSession:
    row = group[0]
    speakers = (Speaker.PATIENT, Speaker.THERAPIST)
    turns = tuple(Turn(speakers[n % 2], f"{speakers[n % 2]} says {words}") for n in range(count))
    held = Session(row.patient, row.session, row.phase, words, turns, words)
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
        item: ItemRating("Good", score, words, None if score else "invalid")
        for item, score in row.items.items()
    }
    return ReportedRating(
        row.view, row.judge_replicate, items, row.total, row.reason, row.judge, row.kind
    )
