"""Section "Labels": do replies name what the generator named of the same cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.label.agreed import Agreed, LabelAgreed
from cbt_ray.analysis.label.labels import ArmLabels, Labels
from cbt_ray.analysis.label.pair import LabelDecided, LabelPair
from cbt_ray.report.at import At
from cbt_ray.report.figure import Figure, Look, looks
from cbt_ray.report.forest import whisker
from cbt_ray.report.part import Fold, Part, Section, Text
from cbt_ray.report.prose import (
    DASH,
    capital,
    estimate,
    interval_of,
    probability,
    reasons,
    text,
    two,
    whole,
    why,
)
from cbt_ray.report.svg import Scale, axis_x, drawing, line, marker, nice, tag, wrapped
from cbt_ray.report.svg import text as label
from cbt_ray.report.table import Column, Table, column, tabulate


@dataclass(frozen=True)
class PlotLayout:
    """Where a label's parts stand."""

    class_: str
    width: int
    plot: tuple[int, int]
    """Left and right end of the axis."""
    head: int
    """Height above a label's first line."""
    told: bool
    """Whether numbers stand beside the lines; else the table below has them."""


WIDE = PlotLayout("wide", 640, (196, 496), head=12, told=True)
"""Labels left of the plot, numbers right of it."""
SLIM = PlotLayout("slim", 340, (8, 332), head=34, told=False)
"""Labels above their lines, for a narrow screen."""
LINE = 17
"""Height of an arm's line."""


def labels(analysis: Analysis) -> Section | None:
    """None where no reply has a list of labels."""
    found = At(analysis).of(lambda all_: all_.labels).known()
    if not found:
        return None
    own = found[0]
    parts: list[Part] = [
        Text(own.value.answer),
        _arms(own),
        f1_figure(analysis, own.value),
        Fold("Each label in each arm", [_labels(own)]),
        _pairs(own),
        Fold("Each label compared", [_decided(own)]),
    ]
    return Section("labels", "Labels", parts)


def _arms(found: At[Labels]) -> Table:
    ceiling = found.value.ceiling
    columns: list[Column[ArmLabels]] = [
        column("Arm", lambda arm: _named(arm, ceiling), lambda row: row.arm),
        column("Replies", whole, lambda row: row.replies),
        column("Cases", whole, lambda row: row.cases),
        column("Personas", whole, lambda row: row.personas),
        column("Training seeds", _several, lambda row: row.seeds, optional=True),
        column("F1", estimate, lambda row: row.all.f1, prose=True),
        column("Dealt at random", two, lambda row: row.base_rate),
        column("Precision", two, lambda row: row.all.precision.value),
        column("Recall", two, lambda row: row.all.recall.value),
        column("Macro F1", two, lambda row: row.macro_f1),
        column("All labels right", estimate, lambda row: row.exact, prose=True),
        column("Named nothing", reasons, lambda row: row.unnamed, prose=True),
        column("Not there", reasons, lambda row: row.left_out, prose=True, optional=True),
    ]
    note = (
        f"{found.value.method}. A reply that names nothing counts, whatever the reason. Dealt at "
        "random: the F1 expected of the same replies if they were dealt to the cases at random. "
        "Macro: the mean over the labels that a reply or the generator named."
    )
    place = ("t-labels", "Labels named, against the generator's")
    return tabulate(place, found.each(lambda one: one.arms), columns, note=note)


def _several(seeds: int) -> str:
    return whole(seeds) if seeds > 1 else DASH


def _named(arm: str, ceiling: str | None) -> str:
    return f"{arm} (ceiling)" if arm == ceiling else arm


def agreed_columns() -> list[Column[LabelAgreed]]:
    """Counts and shares of one label."""
    return [
        column("Label", text, lambda row: row.label, prose=True),
        column("By the generator", whole, lambda row: row.support),
        column("By both", whole, lambda row: row.tp),
        column("By the reply alone", whole, lambda row: row.fp),
        column("By the generator alone", whole, lambda row: row.fn),
        column("Precision", estimate, lambda row: row.precision, prose=True),
        column("Recall", estimate, lambda row: row.recall, prose=True),
        column("F1", estimate, lambda row: row.f1, prose=True),
    ]


def _labels(found: At[Labels]) -> Table:
    rows = [
        (arm.value.arm, row)
        for arm in found.each(lambda one: one.arms)
        for row in arm.each(lambda of_arm: of_arm.labels)
    ]
    names = [_named(arm, found.value.ceiling) for arm, _ in rows]
    place = ("t-labels-each", "Each label in each arm")
    return tabulate(place, [row for _, row in rows], agreed_columns(), names=names)


def _pairs(found: At[Labels]) -> Table:
    columns: list[Column[LabelPair]] = [
        column("Contrast", text, lambda row: row.label),
        column("Cases", whole, lambda row: row.cases),
        column("Personas", whole, lambda row: row.personas),
        column("Difference of F1", _difference, lambda row: row.f1, prose=True),
        column("Right in the first alone", whole, lambda row: row.exact.plus),
        column("Right in the second alone", whole, lambda row: row.exact.minus),
        column("p", probability, lambda row: row.exact.p),
        column(
            "Test", _test, lambda row: row.exact.method, lambda row: row.exact.reason, prose=True
        ),
        column("What it is about", text, lambda row: row.caveat, below=True),
    ]
    note = (
        "On the cases of both. A case is right where all its labels are the generator's; where it "
        "has several replies, their share counts."
    )
    place = ("t-label-pairs", "Arms compared in labels")
    rows = found.each(lambda one: one.pairs)
    return tabulate(place, rows, columns, note=note, empty=why(found.value.reason))


def _difference(found: Estimate) -> str:
    if found.value is None:
        return capital(found.reason) or DASH
    sign = "+" if float(two(abs(found.value))) and found.value > 0 else ""
    if found.low is None:
        return f"{sign}{two(found.value)}"
    return f"{sign}{two(found.value)} ({interval_of(found.low, found.high, 2)})"


def _test(method: str | None, reason: str | None) -> str:
    return capital(method or reason) or DASH


def _decided(found: At[Labels]) -> Table:
    rows = [
        (pair.value.label, row)
        for pair in found.each(lambda one: one.pairs)
        for row in pair.each(lambda of_pair: of_pair.labels)
    ]
    columns: list[Column[LabelDecided]] = [
        column("Label", text, lambda row: row.label, prose=True),
        column("Right in the first alone", whole, lambda row: row.plus),
        column("Right in the second alone", whole, lambda row: row.minus),
        column("p", probability, lambda row: row.p),
        column("p, Holm", probability, lambda row: row.p_adjusted),
        column("No p", capital, lambda row: row.reason, below=True),
    ]
    note = (
        "A case is right where the reply and the generator both named the label, or neither did. "
        "Holm goes over the labels of a contrast."
    )
    place = ("t-label-decided", "Each label compared")
    names = [name for name, _ in rows]
    return tabulate(
        place, [row for _, row in rows], columns, note=note, names=names, empty="No contrast."
    )


# ---- drawn ---------------------------------------------------------------------------------------


def f1_figure(analysis: Analysis, found: Labels) -> Figure:
    """F1 over all labels and of each, an arm a line."""
    title = "F1 by label"
    caption = (
        f"Points with {found.level:.0%} intervals. Dotted: what the same replies would have if "
        "they were dealt to the cases at random."
    )
    shown = [one.f1 for arm in found.arms for one in (arm.all, *arm.labels)]
    if any(one.value is not None and one.low is None for one in shown):
        caption += " A hollow point has no interval."
    if not any(arm.all.f1.value is not None for arm in found.arms):
        return Figure("labels", title, caption, empty="Not drawn: nothing was named.", scored=False)
    known = _looks(analysis, found)
    drawn = [_draw(found, list(known.values()), title, layout) for layout in (WIDE, SLIM)]
    return Figure("labels", title, caption, drawn, tuple(known.values()), scored=False)


def _looks(analysis: Analysis, found: Labels) -> dict[str, Look]:
    """How each arm looks: as in every other figure."""
    known = looks(analysis)
    more = 1 + max((look.series for look in known.values()), default=-1)
    named = [known.get(arm.arm) or Look(arm.arm, more + n, n) for n, arm in enumerate(found.arms)]
    return {
        look.label: Look(_named(look.label, found.ceiling), look.series, look.shape)
        for look in named
    }


Line = tuple[Agreed, float | None]
"""What an arm names, and its base rate."""


def _blocks(found: Labels) -> list[tuple[str, list[Line]]]:
    """All labels together, then each that somebody named."""
    whole_: list[Line] = [(arm.all, arm.base_rate) for arm in found.arms]
    each: list[tuple[str, list[Line]]] = [
        (rows[0].label, [(row, None) for row in rows])
        for rows in zip(*(arm.labels for arm in found.arms), strict=True)
        if any(row.f1.value is not None for row in rows)
    ]
    return [("All labels", whole_), *each]


def _draw(found: Labels, known: Sequence[Look], title: str, layout: PlotLayout) -> Markup:
    blocks, scale = _blocks(found), Scale(0.0, 1.0, *layout.plot)
    height = layout.head + LINE * len(found.arms)
    bottom = 10 + height * len(blocks)
    rows = [
        _block(name, lines, known, scale, 10 + height * n, layout)
        for n, (name, lines) in enumerate(blocks)
    ]
    axis = axis_x(scale, nice(0.0, 1.0, 5), bottom, 6, "F1")
    return drawing(layout.width, bottom + 40, title, axis, *rows, class_=layout.class_)


def _block(
    name: str,
    lines: Sequence[Line],
    known: Sequence[Look],
    scale: Scale,
    top: float,
    layout: PlotLayout,
) -> Markup:
    """A label, with a line for each arm."""
    first = top + layout.head
    middle = first + LINE * (len(lines) - 1) / 2 if layout.told else first - 14
    said = wrapped(name, 30 if layout.told else 50)
    parts = [
        label(0, middle + 4 + 14 * (n - (len(said) - 1) / 2), part, "start", "halo")
        for n, part in enumerate(said)
    ]
    for n, ((row, rate), look) in enumerate(zip(lines, known, strict=True)):
        y = first + LINE * n
        parts += _line(row.f1, rate, look, scale, y)
        if layout.told:
            parts.append(label(layout.width, y + 4, estimate(row.f1), "end", "num halo"))
    return tag("g", *parts)


def _line(found: Estimate, rate: float | None, look: Look, scale: Scale, y: float) -> list[Markup]:
    """The base rate, the interval and the point of an arm."""
    parts = [] if rate is None else [line(scale(rate), y - 7, scale(rate), y + 7, "zero")]
    if found.low is not None and found.high is not None:
        parts += whisker(scale, found.low, found.high, y, "whisker thin", cap=3)
    if found.value is None:
        return parts
    hint, hollow = f"{look.label}: {estimate(found)}", " hollow" if found.low is None else ""
    point = (scale(found.value), y, look.shape, f"dot {look.class_}{hollow}", 4.0, hint)
    return [*parts, marker(*point)]
