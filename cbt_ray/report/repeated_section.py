"""Section "Repeated measures": conditions compared within subjects, as the ACT study did."""

from __future__ import annotations

from functools import partial

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.repeated import ComparedMeasure, ConditionPair
from cbt_ray.analysis.effect.subject_model import ConditionMean
from cbt_ray.report.at import At
from cbt_ray.report.part import Fold, Part, Section, Text
from cbt_ray.report.prose import (
    DASH,
    capital,
    counted,
    interval_of,
    one,
    percent,
    probability,
    text,
    two,
    whole,
)
from cbt_ray.report.table import Column, Table, column, tabulate

WINS = (
    "In how many subjects the first condition is the better one; a tie is half a win. Wilson "
    "intervals."
)
PAIRS = "z as published, which takes the variances as known; with t of the pair itself."


def repeated(analysis: Analysis) -> Section:
    """Each measure compared over the conditions."""
    found = At(analysis).of(lambda all_: all_.repeated)
    said = (
        f"{found.value.design}. Pairs adjusted by {found.value.adjust}; "
        f"{percent(found.value.level)} intervals."
    )
    parts: list[Part] = [Text(said)]
    for measure in found.each(lambda all_: all_.measures):
        parts += _measure(measure)
    return Section("repeated", "Repeated measures", parts)


def _measure(measure: At[ComparedMeasure]) -> list[Part]:
    id_, name = f"t-repeated-{measure.value.measure}", measure.value.title
    if measure.value.reason:
        return [Table(id_, name, empty=f"{capital(measure.value.reason)}.")]
    return [
        _tests((id_, f"{name}: do conditions differ"), measure),
        _means((f"{id_}-means", f"{name}: means"), measure),
        _pairs((f"{id_}-pairs", f"{name}: every pair"), measure),
        Fold(
            f"{name}: how often one beats the other",
            [_wins((f"{id_}-wins", f"{name}: wins"), measure)],
        ),
    ]


def _tests(place: tuple[str, str], measure: At[ComparedMeasure]) -> Table:
    columns: list[Column[ComparedMeasure]] = [
        column(
            "Wald \N{GREEK SMALL LETTER CHI}\N{SUPERSCRIPT TWO}",
            two,
            lambda row: row.omnibus.chi2 if row.omnibus else None,
        ),
        column("df", text, lambda row: row.omnibus.df if row.omnibus else None),
        column("p", probability, lambda row: row.omnibus.p if row.omnibus else None),
        column(
            "Its false alarms at 0.05",
            percent,
            lambda row: row.omnibus.type1 if row.omnibus else None,
            optional=True,
        ),
        column("F", two, lambda row: row.f.f if row.f else None),
        column(
            "df",
            lambda a, b: DASH if a is None else f"{a}, {b}",
            lambda row: row.f.df1 if row.f else None,
            lambda row: row.f.df2 if row.f else None,
        ),
        column("p", probability, lambda row: row.f.p if row.f else None),
        column("Epsilon", two, lambda row: row.f.epsilon if row.f else None),
        column("p, corrected", probability, lambda row: row.f.p_corrected if row.f else None),
        column("ICC", two, lambda row: row.variance.icc if row.variance else None),
        column(
            "R\N{SUPERSCRIPT TWO}, fixed",
            two,
            lambda row: row.variance.r2_marginal if row.variance else None,
        ),
    ]
    found = measure.value
    other = "; F does not" if found.f and found.f.f is not None else ""
    note = (
        f"{counted(found.subjects, 'subject')}, {found.complete} of them under every condition. "
        f"Wald takes the variances as known{other}."
    )
    return tabulate(place, [measure], columns, note=note)


def _means(place: tuple[str, str], measure: At[ComparedMeasure]) -> Table:
    columns: list[Column[ConditionMean]] = [
        column("Condition", text, lambda row: row.condition),
        column("n", whole, lambda row: row.n),
        column("Mean", two, lambda row: row.mean),
        column(
            "Interval", partial(interval_of, digits=2), lambda row: row.low, lambda row: row.high
        ),
        column("SD", two, lambda row: row.sd),
        column("Min", one, lambda row: row.min),
        column("Max", one, lambda row: row.max),
        column("No interval", capital, lambda row: row.reason, below=True),
    ]
    return tabulate(place, measure.each(lambda row: row.means), columns)


def _pairs(place: tuple[str, str], measure: At[ComparedMeasure]) -> Table:
    columns: list[Column[ConditionPair]] = [
        column("Condition", text, lambda row: row.a),
        column("and", text, lambda row: row.b),
        column("Difference", two, lambda row: row.estimate),
        column("z", two, lambda row: row.wald.z),
        column("p, adjusted", probability, lambda row: row.wald.p_adjusted),
        column("t", two, lambda row: row.paired.t),
        column("df", text, lambda row: row.paired.df),
        column("p, adjusted", probability, lambda row: row.paired.p_adjusted),
        column(
            "Interval",
            partial(interval_of, digits=2),
            lambda row: row.paired.low,
            lambda row: row.paired.high,
        ),
        column("d", two, lambda row: row.d_total),
    ]
    return tabulate(place, measure.each(lambda row: row.pairs), columns, note=PAIRS)


def _wins(place: tuple[str, str], measure: At[ComparedMeasure]) -> Table:
    columns: list[Column[ConditionPair]] = [
        column("Condition", text, lambda row: row.a),
        column("and", text, lambda row: row.b),
        column("Subjects", whole, lambda row: row.n),
        column(
            "Wins of the first",
            _rate,
            lambda row: row.wins.rate,
            lambda row: row.wins.low,
            lambda row: row.wins.high,
        ),
        column(
            "Won, lost, tied",
            lambda won, lost, tied: f"{won}, {lost}, {tied}",
            lambda row: row.wins.wins,
            lambda row: row.wins.losses,
            lambda row: row.wins.ties,
        ),
        column("p of the sign test", probability, lambda row: row.wins.p),
    ]
    return tabulate(place, measure.each(lambda row: row.pairs), columns, note=WINS)


def _rate(rate: float | None, low: float | None, high: float | None) -> str:
    return DASH if rate is None else f"{percent(rate)} ({percent(low)} to {percent(high)})"
