"""The answer: the study's question, what the scores say of each pair of arms, and what casts doubt
on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.asked import differing, sides
from cbt_ray.analysis.effect.family import TotalEffect
from cbt_ray.analysis.notice import Notice, by_weight
from cbt_ray.analysis.scores import RULE
from cbt_ray.report.data import Methods, ReportData
from cbt_ray.report.figure import asked, decimals
from cbt_ray.report.prose import interval_of, one, probability, signed
from cbt_ray.study.contrast import Contrast
from cbt_ray.study.imported import OWN_JUDGE

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
    test: str = ""
    """Of the difference: degrees of freedom and p."""


def question(data: ReportData) -> str:
    """What the study asks."""
    analysis = data.analysis
    judge = "the judge" if analysis.judge == OWN_JUDGE else who(data.methods, analysis.judge)
    on = f" on the {title}" if (title := scale_of(data.methods)) else ""
    if by_rule(analysis):
        judge, on = f"the rules {analysis.judge}", f" in {analysis.outcomes[0].title}"
    compared = "; ".join(_compared(one, analysis) for one in asked(analysis))
    if not compared:
        return f"What totals do sessions get{on} from {judge}? No contrast is asked."
    return (
        f"With the same simulated patients, do sessions get a higher total{on} from {judge} "
        f"{compared}?"
    )


def who(methods: Methods, rater: str) -> str:
    """Who a rater is, as far as it is known; else its name."""
    found = (one.who for one in methods.raters if one.name == rater)
    return next(found, "") or rater


def scale_of(methods: Methods) -> str:
    """What the scale is called, or the scales; empty where nobody knows."""
    return " and the ".join(scale.title for scale in methods.scales) or methods.scale


def _compared(contrast: Contrast, analysis: Analysis) -> str:
    """`with variant tuned than with variant instruct, within each model`."""
    rows = analysis.contrasts.primary.rows
    within = next((list(row.where) for row in rows if row.contrast == contrast.name), [])
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


def by_rule(analysis: Analysis) -> bool:
    """Whether the headline was counted, and nobody read the sessions for it."""
    return analysis.judges.get(analysis.judge) == RULE


def total_range(analysis: Analysis) -> tuple[float, float]:
    """Lowest and highest total that the scale can give; where it has no such end, that was seen."""
    low, high = analysis.settings.ends(len(analysis.items))
    seen = [end for row in analysis.scores for end in (row.total.min, row.total.max)]
    known = [value for value in seen if value is not None] or [0.0]
    return min(known) if low is None else low, max(known) if high is None else high


def answers(analysis: Analysis) -> list[Answer]:
    """One per primary contrast."""
    known = {contrast.name: contrast for contrast in asked(analysis)}
    rows = analysis.contrasts.primary.rows
    return [_answer(row, known[row.contrast], analysis) for row in rows]


def no_answer(analysis: Analysis) -> str:
    """Why there is none."""
    return f"No answer: {analysis.contrasts.primary.reason or 'no contrast was computed'}."


def notices(analysis: Analysis, more: Sequence[Notice]) -> tuple[list[Notice], list[Notice]]:
    """The heavy ones, which stand above the answer, and the others; each once, by weight."""
    both = sorted([*more, *analysis.notices], key=lambda notice: notice.weight)
    known = {notice.text: notice for notice in both}
    found = by_weight(known.values())
    return [n for n in found if n.weight >= HEAVY], [n for n in found if n.weight < HEAVY]


def calibrated(analysis: Analysis) -> bool:
    """Is it known how the headline judge's scores relate to people's."""
    no_model = analysis.judges.get(analysis.judge) in ("human", RULE)
    return no_model or bool(analysis.reliability.humans.calibrated)


def unit(analysis: Analysis) -> str:
    """What a difference in the headline is counted in."""
    named = {"flag": "shares of sessions", "count": "counts a session"}
    return named.get(analysis.settings.kind, "points of the total")


def _answer(row: TotalEffect, contrast: Contrast, analysis: Analysis) -> Answer:
    plus, minus = sides(contrast)
    if row.estimate is None:
        return Answer(row.label, "none", "", "", f"No answer: {row.reason}.")
    digits, of = decimals(analysis), unit(analysis).removesuffix(" of the total")
    head = (row.label, signed(row.estimate, digits), f"{plus} \N{MINUS SIGN} {minus}, {of}")
    said = f"{_said(row.estimate, analysis)} with {plus} than with {minus}."
    if float(f"{row.estimate:.{digits}f}") == 0:
        said = f"The same with {plus} as with {minus}."
    if row.low is None or row.high is None:
        return Answer(*head, "no interval", f"{said} No interval: {row.reason}.")
    if row.low <= 0 <= row.high:
        said += " The interval contains zero: the scores do not tell which is higher."
    interval = f"{row.level:.0%} interval {interval_of(row.low, row.high, digits)}"
    return Answer(*head, interval, said, _test(row))


def _said(estimate: float, analysis: Analysis) -> str:
    """`9.2 points higher`."""
    far, above = one(abs(estimate), decimals(analysis)), estimate > 0
    if analysis.settings.kind == "flag":
        return f"{far} {'more' if above else 'less'} of the sessions"
    if analysis.settings.kind == "count":
        return f"{far} {'more' if above else 'fewer'} a session"
    return f"{far} points {'higher' if above else 'lower'}"


def _test(row: TotalEffect) -> str:
    told = f"p {_p(row.p)}" if row.df is None else f"t with {one(row.df, 0)} df, p {_p(row.p)}"
    return told if row.p_adjusted is None else f"{told}, adjusted by Holm {_p(row.p_adjusted)}"


def _p(value: float | None) -> str:
    said = probability(value)
    return said if said.startswith("<") else f"= {said}"
