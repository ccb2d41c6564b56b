"""The answer: the study's question, per model what the scores say, and what casts doubt on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cbt_ray.report.data import OWN_JUDGE, Notice
from cbt_ray.report.prose import interval_of, one, probability, signed
from cbt_ray.report.table import pick

HEAVY = 70
"""Notices of at least this weight stand above the answer."""
UNCALIBRATED = "Uncalibrated judge."


@dataclass(frozen=True)
class Answer:
    """The answer for one model."""

    label: str
    estimate: str
    unit: str
    interval: str
    sentence: str


def question(analysis: Mapping[str, Any]) -> str:
    """What the study asks."""
    settings, items = analysis["settings"], len(analysis["items"])
    low, high = total_range(analysis)
    judge = "the judge" if analysis["judge"] == OWN_JUDGE else analysis["judge"]
    return (
        f"With the same base model and the same simulated patients, do {settings['treatment']} "
        "sessions get a higher total from "
        f"{judge} than {settings['control']} ones ({items} items, totals from {low} to {high})?"
    )


def total_range(analysis: Mapping[str, Any]) -> tuple[float, float]:
    """Lowest and highest total that the scale can give."""
    settings, items = analysis["settings"], len(analysis["items"])
    low, high = settings["total"] or (items * settings["lowest"], items * settings["highest"])
    return low, high


def answers(analysis: Mapping[str, Any]) -> list[Answer]:
    """One per primary contrast."""
    rows = pick(analysis, "/contrasts/primary/rows")
    return [_answer(row, analysis["settings"]) for row in rows]


def no_answer(analysis: Mapping[str, Any]) -> str:
    """Why there is none."""
    return (
        f"No answer: {pick(analysis, '/contrasts/primary/reason') or 'no contrast was computed'}."
    )


def notices(
    analysis: Mapping[str, Any], more: Sequence[Notice]
) -> tuple[list[Notice], list[Notice]]:
    """The heavy ones, which stand above the answer, and the others; each once, by weight."""
    own = [
        Notice(notice["text"], int(notice.get("weight", 0)))
        for notice in analysis.get("notices", [])
    ]
    known = {
        notice.text: notice for notice in sorted([*more, *own], key=lambda notice: notice.weight)
    }
    found = sorted(known.values(), key=lambda notice: -notice.weight)
    return [n for n in found if n.weight >= HEAVY], [n for n in found if n.weight < HEAVY]


def calibrated(analysis: Mapping[str, Any]) -> bool:
    """Is it known how the headline judge's scores relate to people's."""
    if analysis["judges"].get(analysis["judge"]) == "human":
        return True
    return bool(pick(analysis, "/reliability/humans/calibrated"))


def _answer(row: Mapping[str, Any], settings: Mapping[str, Any]) -> Answer:
    label, treatment, control = row["label"], settings["treatment"], settings["control"]
    if row["estimate"] is None:
        return Answer(label, "none", "", "", f"No answer: {row['reason']}.")
    size, unit = one(abs(row["estimate"])), f"points, {treatment} \N{MINUS SIGN} {control}"
    direction = "higher" if row["estimate"] > 0 else "lower"
    same = float(f"{row['estimate']:.1f}") == 0
    said = f"{treatment.capitalize()} sessions score " + (
        "the same as" if same else f"{size} points {direction} than"
    )
    said += f" {control} ones"
    if row["low"] is None:
        return Answer(
            label,
            signed(row["estimate"]),
            unit,
            "no interval",
            f"{said}. No interval: {row['reason']}.",
        )
    inside = row["low"] <= 0 <= row["high"]
    verdict = (
        "The interval contains zero: the scores do not tell which is higher." if inside else ""
    )
    said = f"{said} ({_test(row)}). {verdict}".rstrip()
    return Answer(
        label,
        signed(row["estimate"]),
        unit,
        f"{row['level']:.0%} interval {interval_of(row['low'], row['high'])}",
        said,
    )


def _test(row: Mapping[str, Any]) -> str:
    adjusted = row.get("p_adjusted")
    told = f"t with {one(row['df'], 0)} df, p {_p(row['p'])}"
    told = told if adjusted is None else f"{told}, Holm-adjusted {_p(adjusted)}"
    return told.replace("p = ", "p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")


def _p(value: float) -> str:
    return probability(value) if value < 0.001 else f"= {probability(value)}"
