"""Section "The next study": what this design could find, and what the next one could."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.design import Design, NextStudy, SmallestDifference
from cbt_ray.analysis.effect.power import Power
from cbt_ray.report.at import At
from cbt_ray.report.figure import Figure, Look
from cbt_ray.report.part import Fold, Section
from cbt_ray.report.prose import capital, counted, known_interval, one, percent, text, two, whole
from cbt_ray.report.svg import Scale, axis_y, drawing, marker, nice, path
from cbt_ray.report.svg import text as label
from cbt_ray.report.table import Column, Table, column, tabulate

WIDTH = 560


def power(analysis: Analysis) -> Section:
    """What this design could find, and how to spend the next study's sessions."""
    found = At(analysis).of(lambda all_: all_.power)
    again = Fold("Patients x sessions at equal cost", [_next(found)])
    return Section("power", "The next study", [_smallest(found), drawn(found.value), again])


def _smallest(found: At[Power]) -> Table:
    columns: list[Column[SmallestDifference]] = [
        column("Error term", text, lambda row: row.error_term),
        column("df", text, lambda row: row.df),
        column("Adjusted", text, lambda row: row.adjust),
        column("alpha", lambda value: one(value, 4), lambda row: row.alpha),
        column("Power", percent, lambda row: row.power),
        column("Smallest difference", two, lambda row: row.difference),
        column(
            "At the ends of the variance's interval",
            partial(known_interval, digits=2),
            lambda row: row.low,
            lambda row: row.high,
            optional=True,
        ),
        column("d", two, lambda row: row.d),
    ]
    return tabulate(
        ("t-smallest", "The smallest difference that this design could find"),
        found.each(lambda all_: all_.smallest),
        columns,
        note=_basis(found.value),
        empty=f"{capital(found.value.reason or 'none')}.",
    )


def _basis(found: Power) -> str:
    """What the differences rest on."""
    design, variances, said = found.design, found.variances, ""
    if design:
        said += (
            f"This design: {counted(design.patients, 'patient')} x "
            f"{counted(design.sessions, 'session')}, {counted(design.chains, 'chain')} each. "
        )
    if variances:
        said += (
            f"Variances: {variances.source}: chains {two(variances.chain)}, sessions "
            f"{two(variances.residual)}. "
        )
    return said + found.note


def _next(found: At[Power]) -> Table:
    columns: list[Column[NextStudy]] = [
        column("Times this study's sessions", whole, lambda row: row.cost),
        column("Patients", whole, lambda row: row.patients),
        column("Sessions per chain", whole, lambda row: row.sessions),
        column("Own error term, 80 %", two, lambda row: row.own_80),
        column("90 %", two, lambda row: row.own_90),
        column("Pooled, 80 %", two, lambda row: row.pooled_80),
        column("90 %", two, lambda row: row.pooled_90),
    ]
    note = "Smallest difference found with this power; Holm's first step."
    rows = found.each(lambda all_: all_.next)
    return tabulate(("t-next", "Patients x sessions"), rows, columns, note=note)


Point = tuple[NextStudy, float]
"""A size of the next study, and the smallest difference that it could find."""


def drawn(found: Power) -> Figure:
    """The smallest difference that the next study could find, over its patients, at equal cost."""
    title = "What the next study could find"
    caption = (
        f"Smallest true difference found with a power of 80 % at {found.level:.0%}, Holm's first "
        "step; each line is a budget of sessions an arm, spread over more patients to the right."
    )
    points = [(row, row.own_80) for row in found.next if row.own_80 is not None]
    if not points:
        return Figure("power", title, caption, empty=f"Not drawn: {found.reason}.", scored=False)
    budgets = {row.cost: row.patients * row.sessions for row, _ in points}
    legend = [
        Look(f"{counted(budget, 'session')} an arm", n, n)
        for n, budget in enumerate(budgets.values())
    ]
    near = _near(points)
    if any(_own(row, found.design) for row, _ in near):
        caption += " The hollow point is this study's own design."
    return Figure("power", title, caption, [_lines(near, found.design)], legend, scored=False)


def _near(points: Sequence[Point]) -> list[Point]:
    """Without those far off: two patients need differences that no scale has."""
    lows = sorted(least for _, least in points)
    roof = min(lows[-1], 4 * lows[len(lows) // 2])
    return [(row, least) for row, least in points if least <= roof]


def _own(row: NextStudy, design: Design | None) -> bool:
    return design is not None and (row.cost, row.patients, row.sessions) == (
        1,
        design.patients,
        design.sessions,
    )


def _lines(points: Sequence[Point], design: Design | None) -> Markup:
    y_ticks = nice(0, max(least for _, least in points), 5)
    known = sorted({row.patients for row, _ in points})
    x = Scale(math.log(known[0]), math.log(known[-1]), 48, WIDTH - 20)
    y = Scale(y_ticks[0], y_ticks[-1], 220, 40)
    labels = _apart([(x(math.log(n)), n) for n in known])
    parts = [axis_y(y, y_ticks, 42, WIDTH - 14, "smallest difference, points")]
    parts += [label(at, 236, str(n), "middle", "tick") for at, n in labels]
    parts.append(label((48 + WIDTH - 20) / 2, 254, "patients", "middle", "axis"))
    for index, cost in enumerate(sorted({row.cost for row, _ in points})):
        own = [(row, least) for row, least in points if row.cost == cost]
        places = [(x(math.log(row.patients)), y(least)) for row, least in own]
        parts.append(path(places, f"line s{index}") if len(places) > 1 else Markup(""))
        for (a, b), (row, least) in zip(places, own, strict=True):
            hollow = _own(row, design)
            hint = (
                f"{counted(row.patients, 'patient')} x {counted(row.sessions, 'session')}: "
                f"{one(least)} points"
            )
            look = f"dot s{index}" + (" hollow" if hollow else "")
            parts.append(marker(a, b, index, look, 4 if hollow else 3, hint))
    return drawing(WIDTH, 264, "Smallest difference over patients", *parts, class_="fluid")


def _apart(places: Sequence[tuple[float, int]], least: float = 24) -> list[tuple[float, int]]:
    """Labels that do not touch."""
    kept: list[tuple[float, int]] = []
    for at, number in places:
        if not kept or at - kept[-1][0] >= least:
            kept.append((at, number))
    return kept
