"""What of the section "Judge" is about agreement: of judges with each other, and with people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.estimate import Estimate, Span
from cbt_ray.analysis.judge.agreement import AgainstPeople, Humans
from cbt_ray.analysis.judge.icc import Coefficients
from cbt_ray.analysis.judge.judges import JudgeDifference, JudgePair
from cbt_ray.analysis.judge.learned import LearnedJudge
from cbt_ray.report.at import At
from cbt_ray.report.effect_section import difference_columns
from cbt_ray.report.figure import Figure, decimals, repeats
from cbt_ray.report.part import Fold, Part, Text
from cbt_ray.report.prose import (
    DASH,
    capital,
    counted,
    estimate,
    known_interval,
    span,
    text,
    whole,
    why,
)
from cbt_ray.report.svg import Scale, axis_x, axis_y, cloud, drawing, line, nice
from cbt_ray.report.table import Cell, Column, Row, Table, column, shown, tabulate

T = TypeVar("T")
COEFFICIENTS: Mapping[str, Callable[[Coefficients], Estimate]] = {
    "ICC(2,1)": lambda found: found.icc2_1,
    "ICC(2,k)": lambda found: found.icc2_k,
    "ICC(3,1)": lambda found: found.icc3_1,
    "ICC(3,k)": lambda found: found.icc3_k,
}
SAMPLED: Mapping[str, Callable[[Coefficients], Span | None]] = {
    "ICC(2,1)": lambda found: found.random_judges.icc2_1 if found.random_judges else None,
    "ICC(2,k)": lambda found: found.random_judges.icc2_k if found.random_judges else None,
}
"""Those that hold for judges drawn at random, too, where there are enough of them."""
OF_ALL = "Over the sessions that all judges rated."


def between(everything: At[Analysis]) -> list[Part]:
    """Of judges with each other."""
    found = everything.value.reliability.judges
    if not found.pairs:
        return [Text(why(found.reason), "empty")]
    return [
        _all_judges(everything),
        _pairs(everything),
        _effects(everything),
        _worst(everything),
    ]


def _pairs(everything: At[Analysis]) -> Table:
    columns: list[Column[JudgePair]] = [
        column("Judge", text, lambda row: row.a),
        column("and", text, lambda row: row.b),
        column("Sessions", whole, lambda row: row.sessions),
        column("ICC(2,1), absolute", estimate, lambda row: row.icc2_1),
        column("ICC(3,1), consistent", estimate, lambda row: row.icc3_1),
        column("Mean difference", estimate, lambda row: row.difference),
    ]
    fixed = "Fewer than five judges are fixed: intervals hold for these very judges. "
    averaged = "Replicates averaged; sessions" if repeats(everything.value) else "Sessions"
    return tabulate(
        ("t-judge-pairs", "Agreement of each pair of judges on the total"),
        everything.each(lambda all_: all_.reliability.judges.pairs),
        columns,
        note=f"{fixed if everything.value.reliability.judges.fixed else ''}{averaged} that both "
        "rated.",
    )


def _effects(everything: At[Analysis]) -> Table:
    found = everything.named(lambda all_: all_.reliability.judges.effects)
    judges = everything.value.reliability.judges.judges
    rows = [Row([Cell(name), shown(estimate, found[name])]) for name in judges if name in found]
    head = [("Judge", False), ("Difference from the mean of the others", False)]
    none = "" if rows else "No session was rated by all judges."
    return Table(
        "t-judge-effects", "What each judge adds", head if rows else [], rows, OF_ALL, none
    )


def _all_judges(everything: At[Analysis]) -> Table:
    judges = everything.value.reliability.judges
    if judges.agreement is None:
        return Table("t-icc", "Agreement of all judges", empty=why(judges.reason))
    place = everything.of(lambda all_: all_.reliability.judges.agreement)
    found = At(judges.agreement, place.pointer)
    head = [("Coefficient", False), ("Value, interval for these judges", False)]
    rows = [[Cell(name), shown(estimate, found.of(read))] for name, read in COEFFICIENTS.items()]
    if judges.agreement.random_judges is not None:
        head.append(("Interval for judges drawn at random", False))
        for row, name in zip(rows, COEFFICIENTS, strict=True):
            row.append(shown(span, found.of(SAMPLED[name])) if name in SAMPLED else Cell(DASH))
    return Table(
        "t-icc",
        "Agreement of all judges on the total",
        head,
        [Row(row) for row in rows],
        f"Over {counted(judges.sessions, 'session')} that all judges rated.",
    )


def _worst(everything: At[Analysis]) -> Table:
    worst = everything.value.reliability.judges.worst_case
    columns: list[Column[JudgeDifference]] = [
        column("Judge", text, lambda row: row.judge),
        *difference_columns(decimals(everything.value)),
    ]
    rows = [
        (one_judge, row.value.label)
        for row in everything.each(
            lambda all_: (
                all_.reliability.judges.worst_case.rows
                if all_.reliability.judges.worst_case
                else []
            )
        )
        for one_judge in row.each(lambda of_row: of_row.judges)
    ]
    note = "The primary contrasts by each judge alone; unrated sessions left out."
    if worst and worst.least_favourable:
        note += f" Least favourable to the first side: {worst.least_favourable.judge}."
    return tabulate(
        ("t-worst", "The answer judge by judge"),
        [row for row, _ in rows],
        columns,
        note=note,
        empty=why(worst.reason if worst else None),
        names=[label for _, label in rows],
    )


def people(everything: At[Analysis]) -> Table:
    """Of the headline judge with people."""
    columns: list[Column[AgainstPeople]] = [
        column("Rater", text, lambda row: row.rater),
        column("People", whole, lambda row: row.people),
        column("Sessions", whole, lambda row: row.sessions),
        column("ICC(2,1), absolute", estimate, lambda row: row.icc2_1),
        column("ICC(3,1), consistent", estimate, lambda row: row.icc3_1),
        column("Bias", estimate, lambda row: row.bias),
        column(
            "Limits of agreement",
            known_interval,
            lambda row: row.limits.lower.value if row.limits else None,
            lambda row: row.limits.upper.value if row.limits else None,
        ),
        column("Why there is none", capital, lambda row: row.reason, below=True),
    ]
    note = (
        "The headline judge against people; bias is the judge minus the person, in points of "
        "the total."
    )
    return tabulate(
        ("t-people", "Agreement with people"),
        everything.each(lambda all_: all_.reliability.humans.raters),
        columns,
        note=note,
        empty=why(everything.value.reliability.humans.reason),
    )


def learned(everything: At[Analysis]) -> list[Part]:
    """Of judges that learned from people with them, on patients that were held out; nothing where
    none did.
    """
    columns: list[Column[LearnedJudge]] = [
        column("Model", text, lambda row: row.model),
        column("Rater", text, lambda row: row.rater),
        column("Measure", text, lambda row: row.measure),
        column("People", text, lambda row: row.people.rater),
        column("Patients learned from", whole, lambda row: row.learned_from),
        column("Held-out patients", whole, lambda row: row.held_out),
        column("Sessions", whole, lambda row: row.people.sessions),
        column("ICC(2,1), absolute", estimate, lambda row: row.people.icc2_1),
        column("ICC(3,1), consistent", estimate, lambda row: row.people.icc3_1),
        column("Bias", estimate, lambda row: row.people.bias),
        column("Gain in ICC(2,1)", estimate, lambda row: row.gain),
        column("Why there is none", capital, lambda row: row.people.reason, below=True),
    ]
    rows = everything.each(lambda all_: all_.reliability.learned)
    note = (
        "On sessions of patients whose ratings no judge learned from. Each model as it was before, "
        "then as it learned; the gain is the difference of the two."
    )
    found = tabulate(
        ("t-learned", "Judges that learned from people"), rows, columns, note=note, empty=""
    )
    return [found] if rows else []


def bias(people: Humans) -> Figure:
    """The judge's total minus a person's, over the mean of both, as Bland and Altman draw it."""
    title = "Bias of the judge against people"
    caption = (
        "The judge's total minus a person's, over the mean of both; one point a session. Solid: "
        "the mean; dashed: limits of "
        "agreement."
    )
    rows = [row for row in people.raters if row.points]
    if not rows:
        return Figure("bias", title, caption, empty=f"Not drawn: {people.reason}.")
    return Figure("bias", title, caption, [_bias(row) for row in rows])


def _bias(row: AgainstPeople) -> Markup:
    ends = [row.limits.lower.value, row.limits.upper.value] if row.limits else []
    known = [end for end in ends if end is not None]
    middles, heights = [point[0] for point in row.points], [point[1] for point in row.points]
    x_ticks = nice(min(middles), max(middles), 5)
    y_ticks = nice(min(*heights, 0.0, *known), max(*heights, 0.0, *known), 5)
    x, y = Scale(x_ticks[0], x_ticks[-1], 44, 328), Scale(y_ticks[0], y_ticks[-1], 222, 34)
    parts = [
        axis_x(x, x_ticks, 222, 28, "mean of both totals"),
        axis_y(y, y_ticks, 40, 328, f"judge \N{MINUS SIGN} {row.rater}"),
        line(44, y(0), 328, y(0), "base"),
        cloud([(x(a), y(b)) for a, b in row.points], "cloud s0"),
    ]
    if row.bias and row.bias.value is not None:
        parts.append(line(44, y(row.bias.value), 328, y(row.bias.value), "whisker"))
    parts += [line(44, y(end), 328, y(end), "zero") for end in known]
    return drawing(340, 262, f"Bias of the judge against {row.rater}", *parts)


def kappa(everything: At[Analysis]) -> Part:
    """Items in rows; judges with replicates, pairs of judges and people in columns."""
    columns = [
        (_judges(row.value.judges), row.named(lambda of_judges: of_judges.items))
        for row in everything.each(lambda all_: all_.reliability.kappa)
    ]
    columns += [
        (f"judge and {row.value.rater}", row.named(lambda person: person.kappa))
        for row in everything.each(lambda all_: all_.reliability.humans.raters)
    ]
    known = [
        (name, found)
        for name, found in columns
        if any(one.value.value is not None for one in found.values())
    ]
    title = "Weighted kappa of each item"
    if not known:
        none = "No item was rated more than once, by replicates, judges or people."
        return Table("t-kappa", title, empty=none)
    note = "Quadratic weights over the scale's full range, with an interval where there is one."
    return by_item(everything, ("t-kappa", title), known, _brief, note)


def _judges(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) > 1 else f"{names[0]}, replicates"


def by_item(
    everything: At[Analysis],
    place: tuple[str, str],
    columns: Sequence[tuple[str, Mapping[str, At[T]]]],
    show: Callable[[T], str],
    note: str = "",
) -> Fold:
    """A table with a row for each item; a column holds a part of the analysis for each."""
    id_, title = place
    rows = [
        Row([Cell(item.title), *(shown(show, parts[item.item]) for _, parts in columns)])
        for item in everything.value.items
    ]
    head = [("Item", True), *((name, False) for name, _ in columns)]
    return Fold(title, [Table(id_, title, head, rows, note)])


def _brief(found: Estimate) -> str:
    """A value with its interval; a dash where there is none."""
    return estimate(replace(found, reason=None))
