"""A made-up study with everything that a report can show: 600 sessions, replicates, people, probes,
losses, flags.
"""

import random
from dataclasses import replace
from functools import cache
from typing import Any, get_args

from cbt_ray.analysis import Analysis, Beside, ScoreRow, Scores, Settings, analyse
from cbt_ray.analysis.claims.claims import counts
from cbt_ray.analysis.claims.verdict import Claims, ClaimVerdict, RecomputedClaim, Source
from cbt_ray.analysis.declared import Declaration, standing
from cbt_ray.analysis.judge.probe import ProbeRow
from cbt_ray.analysis.judge.robustness import robustness
from cbt_ray.analysis.label.labelled import Labelled
from cbt_ray.analysis.label.labels import labels
from cbt_ray.study.probe import ProbeName
from cbt_ray.study.protocol import Sessions
from cbt_ray.study.rater import Judge
from cbt_ray.therapy.flags import NAMES
from cbt_ray.therapy.replay import rules_of, stop_table
from cbt_ray.therapy.session import Session, Speaker, Turn
from cbt_ray.therapy.stop import StopReason
from cbt_ray.therapy.validation import detectors
from tests.therapy.spoken import ENGLISH, flag_rules

ITEMS = {
    "agenda": "Agenda",
    "feedback": "Feedback",
    "understanding": "Understanding",
    "interpersonal": "Interpersonal Effectiveness",
    "collaboration": "Collaboration",
    "pacing": "Pacing and Efficient Use of Time",
    "discovery": "Guided Discovery",
    "focusing": "Focusing on Key Cognitions or Behaviors",
    "strategy": "Strategy for Change",
    "techniques": "Application of Cognitive-Behavioral Techniques",
    "homework": "Homework",
}
MODELS = ("birch", "maple", "willow")
PATIENTS = ("Ada Lund", "Ben Okoro", "Cleo Marsh", "Dov Aran", "Eda Yilmaz")
VARIANTS = ("instruct", "tuned")
PROBES = get_args(ProbeName)
PHASES = ("assessment", "initial", "middle", "termination")
GAIN = {"birch": 0.9, "maple": 0.55, "willow": 0.15}


@cache
def rows(sessions: int = 20, replicates: int = 2, seed: int = 4) -> tuple[ScoreRow, ...]:
    """Ratings by the study's judge (two replicates), and by two people of every seventh session."""
    draw, found = random.Random(seed), []
    for model in MODELS:
        for variant in VARIANTS:
            for patient in PATIENTS:
                chain = draw.gauss(0, 0.35)
                broken = (model, variant, patient) == ("willow", "tuned", "Dov Aran")
                for number in range(1, sessions + 1):
                    found += _session(
                        draw,
                        (model, variant, patient, number),
                        chain,
                        replicates,
                        broken=broken and number > sessions - 4,
                    )
    return tuple(found)


def _session(
    draw: random.Random,
    place: tuple[str, str, str, int],
    chain: float,
    replicates: int,
    *,
    broken: bool,
) -> list[ScoreRow]:
    model, variant, patient, number = place
    reason = (
        "not_reached"
        if broken
        else "rejected:too_short"
        if draw.random() < 0.006
        else "judge_failed:malformed"
        if draw.random() < 0.006
        else None
    )
    held = reason is None or reason.startswith("judge")
    level = (
        5
        + chain
        + (GAIN[model] if variant == "tuned" else 0.0)
        + draw.gauss(0, 0.7)
        - (0.6 if number == 1 else 0.0)
    )
    base = ScoreRow(
        session_key=f"{model}-{variant}.{patient.split()[0].lower()}.r1.s{number:02d}",
        arm=f"{model}-{variant}",
        factors={"model": model, "variant": variant},
        patient=patient,
        replicate=1,
        session=number,
        phase=PHASES[0 if number < 4 else 1 if number < 8 else 2 if number < 18 else 3],
        view="plain",
        judge_replicate=1,
        rated=False,
        reason=reason,
        words=int(draw.gauss(1500, 300)) if held else 0,
        therapist_turns=12 if held else 0,
        messages=24 if held else 0,
        flags=[
            name
            for name in NAMES
            if held and draw.random() < (0.12 if variant == "tuned" else 0.05)
        ],
        stop_reason=draw.choice(["end_token", "end_token", "summary", "max_messages"])
        if held
        else None,
    )
    if reason is not None:
        return [replace(base, judge_replicate=n) for n in range(1, replicates + 1)]
    own = [_rated(draw, base, level, judge_replicate=n) for n in range(1, replicates + 1)]
    if number % 7 == 0:
        own += [
            _rated(draw, base, level - bias, judge=name, kind="human")
            for name, bias in (("rater one", 0.6), ("rater two", 0.2))
        ]
    return own


def _rated(draw: random.Random, base: ScoreRow, level: float, **more: Any) -> ScoreRow:
    items: dict[str, int | None] = {
        item: max(1, min(10, round(draw.gauss(level, 0.9)))) for item in ITEMS
    }
    return replace(
        base, rated=True, items=items, total=sum(score or 0 for score in items.values()), **more
    )


def probe_rows(ratings: tuple[ScoreRow, ...], each: int = 10, seed: int = 9) -> list[ProbeRow]:
    """Probes of ten sessions an arm: this judge sees through most of them, and not through shuffled
    turns.
    """
    draw, found = random.Random(seed), []
    counts: dict[str, int] = {}
    for row in ratings:
        if not row.rated or row.judge != "judge" or row.judge_replicate != 1 or row.session % 2:
            continue
        counts[row.arm] = counts.get(row.arm, 0) + 1
        if counts[row.arm] <= each:
            found += [_probe(draw, row, name) for name in PROBES]
    return found


def _probe(draw: random.Random, row: ScoreRow, name: str) -> ProbeRow:
    facts: dict[str, Any] = {
        key: getattr(row, key) for key in ("session_key", "arm", "patient", "replicate", "session")
    }
    facts["kind"] = row.factors["variant"]
    if name.startswith("guess"):
        return ProbeRow(
            **facts,
            probe=name,
            guess=row.factors["variant"] if draw.random() < 0.62 else draw.choice(VARIANTS),
        )
    falls = {"empty": 9.0, "shuffled": 0.2, "swapped": 1.6, "no_homework": 0.3}
    items = {
        item: _spoilt(draw, score or 1, name, item, falls.get(name, 0.0))
        for item, score in row.items.items()
    }
    return ProbeRow(**facts, probe=name, items=items, total=sum(items.values()))


def _spoilt(draw: random.Random, score: int, name: str, item: str, fall: float) -> int:
    if name == "no_homework" and item == "homework":
        fall = 2.5
    return max(1, min(10, round(score - fall + draw.gauss(0, 0.6))))


LABELS = (
    "All-or-nothing thinking",
    "Mind reading",
    "Labelling",
    "Catastrophizing",
    "Never named",
)
CEILING = "generator"


def label_rows(cases: int = 40, seed: int = 11) -> list[Labelled]:
    """Replies to cases, two of each persona, and the generator's second analysis."""
    draw, arms = random.Random(seed), [(m, v) for m in MODELS for v in VARIANTS]
    known = LABELS[:4]
    references = [frozenset(draw.sample(known, draw.choice((1, 1, 2, 3)))) for _ in range(cases)]
    found = []
    for model, variant in [*arms, ("", CEILING)]:
        skill = 0.95 if variant == CEILING else 0.5 + GAIN[model] * 0.4 * (variant == "tuned")
        for number, reference in enumerate(references):
            named = {label for label in sorted(reference) if draw.random() < skill}
            named |= {label for label in known if draw.random() < (1 - skill) / 4}
            arm = f"{model}-{variant}" if model else CEILING
            missed = not named and draw.random() < 0.5
            found.append(
                Labelled(
                    session=f"{arm}.case{number:02d}",
                    arm=arm,
                    factors={"model": model, "variant": variant} if model else {},
                    patient=f"case {number:02d}",
                    persona=f"persona {number // 2:02d}",
                    seed=1,
                    replicate=1,
                    named=frozenset(named),
                    reference=reference,
                    reason=None if named else "no_form" if missed else "none_named",
                )
            )
    lost = replace(found[-1], named=frozenset(), reason="owed")
    return [*found[:-1], lost]


def sessions_said(ratings: tuple[ScoreRow, ...]) -> list[tuple[str, Session, StopReason | None]]:
    """What was said in the held sessions, for the replay of stop rules."""
    found, known = [], set()
    for row in ratings:
        if row.messages and row.session_key not in known:
            known.add(row.session_key)
            turns = [
                Turn(Speaker.THERAPIST if n % 2 else Speaker.PATIENT, said(n, row.session))
                for n in range(row.messages)
            ]
            stop = StopReason(row.stop_reason) if row.stop_reason else None
            found.append(
                (row.arm, Session(row.patient, row.session, row.phase, "", tuple(turns), ""), stop)
            )
    return found


def said(turn: int, session: int) -> str:
    """A made-up line."""
    lines = THERAPIST if turn % 2 else PATIENT
    return lines[(turn // 2 + session * 3) % len(lines)]


THERAPIST = (
    "Good to see you again. Before we begin, what would you like to put on our agenda today?",
    "When the letter arrived, what went through your mind just then?",
    "So the thought was that it could only be bad news. How strongly did you believe that, from "
    "nothing to a hundred?",
    "Let us look at that together. What speaks for the thought, and what speaks against it?",
    "You kept to the walk on four days out of seven. What was different on those four days?",
    "If a friend told you the same, what would you say to them?",
    "Let me sum up what we have so far, and you tell me what I have missed.",
    "For the week: write down one such moment a day, with the thought and what you did next. Would "
    "that be of use?",
    "How was today's conversation for you? Was there anything that you did not agree with?",
    "Take care of yourself this week. I look forward to hearing how the walks went.",
)
PATIENT = (
    "I slept badly again, and the flat is a mess. I do not know where to start.",
    "I suppose I thought, here we go, they want the money back.",
    "Eighty, maybe. It felt like a hundred at the time.",
    "Against it? They wrote twice before and both times it was nothing.",
    "On the other days it rained, and I told myself there was no point.",
    "I would tell her to open it. That is easy to say, though.",
    "Yes, that is about right. You left out my sister.",
    "I can try. I have never been one for writing things down.",
    "It was all right. I still think that you are too hopeful.",
    "Fine. Until next week, then.",
)


@cache
def analysis(sessions: int = 20) -> Analysis:
    """The whole result, every section of it."""
    ratings = rows(sessions)
    settings = Settings(items=tuple(ITEMS), titles=ITEMS, level=0.95)
    scores = Scores.of(ratings)
    content = {"analysis": {"unrated": "missing", "level": 0.95}}
    later = {"analysis": {"unrated": "missing", "level": 0.9}}
    before = Declaration("2026-03-02T08:00:00+00:00", "b" * 16, later)
    declared = standing(
        [before, Declaration("2026-03-09T08:00:00+00:00", "a" * 16, content)],
        "a" * 16,
        content,
        "2026-03-05T08:00:00+00:00",
        imported=False,
    )
    beside = Beside(
        declared=declared,
        robustness=robustness(probe_rows(ratings), scores, settings, Judge(endpoint="script")),
        detectors=detectors(flag_rules(), NAMES),
        labels=labels(label_rows(), settings, CEILING, LABELS),
        stop_rules=stop_table(sessions_said(ratings), rules_of(Sessions(count=sessions), ENGLISH)),
    )
    return replace(analyse(scores, settings, beside=beside), claims=claims())


def claims() -> Claims:
    """Claims as they would stand where a paper had been written on these scores."""
    held = ClaimVerdict("borne_out", "estimate equals 8.1", 8.14, 3.9, 12.4)
    failed = ClaimVerdict("not_borne_out", "p < 0.05", 0.31)
    untested = ClaimVerdict(
        "not_testable", "p < 0.05", reason="the default analysis has no such number"
    )
    source = Source(what="a made-up abstract", url="none", part="abstract")
    rows = [
        RecomputedClaim(
            **{"id": name, "group": "tuning", "kind": "number", "text": text, "printed": printed},
            **{"reading": None, "source": "abstract", "part": source.part, "url": source.url},
            published=published,
            default=default,
        )
        for name, text, printed, published, default in (
            ("gain", "Tuning gains 8.1 points.", "8.1", held, untested),
            ("sure", "Willow gains, too.", None, failed, failed),
        )
    ]
    return Claims(
        rows, "A made-up paper", "none", sources={"abstract": source}, counts=counts(rows)
    )
