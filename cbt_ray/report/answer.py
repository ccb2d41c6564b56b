"""The answer: the study's question, what the scores say of each pair of arms, and what casts doubt
on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.asked import differing, sides
from cbt_ray.analysis.scores import RULE
from cbt_ray.report.data import OWN_JUDGE, Notice
from cbt_ray.report.figure import asked
from cbt_ray.report.prose import interval_of, one, probability, signed
from cbt_ray.report.table import pick
from cbt_ray.study.contrast import Contrast

HEAVY = 70
"""Notices of at least this weight stand above the answer."""
UNCALIBRATED = "Uncalibrated judge."


@dataclass(frozen=True)
class Answer:
    """The answer for one pair of arms."""

    label: str
    estimate: str
    unit: str
    interval: str
    sentence: str


def question(analysis: Analysis) -> str:
    """What the study asks."""
    items, judge = len(analysis["items"]), analysis["judge"]
    judge = "the judge" if judge == OWN_JUDGE else judge
    counted = analysis["judges"].get(judge) == RULE
    size = f"({'counted by rule' if counted else f'{items} items'}, {_span(analysis)})"
    compared = "; ".join(_compared(one, analysis) for one in asked(analysis))
    if not compared:
        return f"What totals do sessions get from {judge} {size}? No contrast is asked."
    return (
        "With the same simulated patients, do sessions get a higher total from "
        f"{judge} {compared} {size}?"
    )


def _compared(contrast: Contrast, analysis: Analysis) -> str:
    """`with variant tuned than with variant instruct, within each model`."""
    rows = pick(analysis, "/contrasts/primary/rows")
    within = next((list(row["where"]) for row in rows if row["contrast"] == contrast.name), [])
    each = f", within each {' and '.join(within)}" if within else ""
    plus, minus = _levels(contrast)
    return f"with {plus} than with {minus}{each}"


def _levels(contrast: Contrast) -> tuple[str, str]:
    """Both sides with the names of their factors."""
    plus, minus = (
        " and ".join(f"{name} {side[name]}" for name in differing(contrast))
        for side in (contrast.plus, contrast.minus)
    )
    return plus, minus


def _span(analysis: Analysis) -> str:
    low, high = analysis.settings.ends(len(analysis.items))
    if low is None or high is None:
        return "totals without a highest value" if high is None else "totals without a lowest value"
    return f"totals from {low:g} to {high:g}"


def total_range(analysis: Analysis) -> tuple[float, float]:
    """Lowest and highest total that the scale can give; where it has no such end, that was seen."""
    low, high = analysis.settings.ends(len(analysis.items))
    seen = [row["total"][end] for row in analysis["scores"] for end in ("min", "max")]
    known = [value for value in seen if value is not None] or [0.0]
    return min(known) if low is None else low, max(known) if high is None else high


def answers(analysis: Analysis) -> list[Answer]:
    """One per primary contrast."""
    rows = pick(analysis, "/contrasts/primary/rows")
    known = {contrast.name: contrast for contrast in asked(analysis)}
    return [_answer(row, known[row["contrast"]]) for row in rows]


def no_answer(analysis: Analysis) -> str:
    """Why there is none."""
    return (
        f"No answer: {pick(analysis, '/contrasts/primary/reason') or 'no contrast was computed'}."
    )


def notices(analysis: Analysis, more: Sequence[Notice]) -> tuple[list[Notice], list[Notice]]:
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


def calibrated(analysis: Analysis) -> bool:
    """Is it known how the headline judge's scores relate to people's."""
    if analysis["judges"].get(analysis["judge"]) in ("human", "rule"):
        return True
    return bool(pick(analysis, "/reliability/humans/calibrated"))


def _answer(row: Mapping[str, Any], contrast: Contrast) -> Answer:
    label, (plus, minus) = row["label"], _levels(contrast)
    if row["estimate"] is None:
        return Answer(label, "none", "", "", f"No answer: {row['reason']}.")
    unit = "points, " + " \N{MINUS SIGN} ".join(sides(contrast))
    size = one(abs(row["estimate"]))
    direction = "higher" if row["estimate"] > 0 else "lower"
    same = float(f"{row['estimate']:.1f}") == 0
    said = f"With {plus}, sessions score " + (
        "the same as" if same else f"{size} points {direction} than"
    )
    said += f" with {minus}"
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
