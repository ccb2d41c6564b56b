"""Sessions: what became of every scheduled one, and what was flagged."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from cbt_ray.analysis.flow import Flagged, Flow
from cbt_ray.report.figure import Figure
from cbt_ray.report.item_figures import grid
from cbt_ray.report.prose import words
from cbt_ray.report.svg import drawing, line, path, tag, text, wrapped

BOX = 96
SIDE = 108
WIDTH = 242
LINE = 13
LOST = {
    "not_reached": "Not reached: the chain ended before.",
    "rejected": "Rejected: the session failed.",
    "owed": "Owed: not run yet.",
}
STEPS = ("scheduled", "reached", "held", "rated")


def flow(table: Sequence[Flow]) -> Figure:
    """Scheduled -> reached -> held -> rated, a column per arm, as CONSORT counts participants."""
    title = "Flow of the scheduled sessions"
    reasons = {reason.partition(":")[0] for row in table for reason in row.unrated}
    lost = " to the right of each arrow what was lost there, and why." if reasons else ""
    caption = " ".join(
        [
            f"A column per arm{';' if lost else '.'}{lost}",
            *(said for reason, said in LOST.items() if reason in reasons),
        ]
    )
    empty = "" if table else "Not drawn: no session is scheduled."
    most = [max((len(_lines(row, step)) for row in table), default=0) for step in STEPS[1:]]
    panels = [_column(row, most) for row in table]
    return Figure("flow", title, caption, panels, empty=empty, scored=False)


def _column(row: Flow, most: Sequence[int]) -> Markup:
    """One arm.

    Every column leaves room for the longest list of reasons, so that steps stand side by side.
    """
    parts = [text(2, 14, row.arm, "start", "strong")]
    counts = (row.scheduled, row.reached, row.held, row.rated)
    y = 24.0
    for index, (step, count) in enumerate(zip(STEPS, counts, strict=True)):
        if index:
            height = max(26.0, 16.0 + LINE * most[index - 1])
            parts.append(_arrow(1 + BOX / 2, y, 1 + BOX / 2, y + height))
            lost = _lines(row, step)
            parts += _loss(lost, y + height / 2) if lost else []
            y += height
        parts.append(tag("rect", class_="box", x=1, y=y, width=BOX, height=38, rx=3))
        parts.append(text(1 + BOX / 2, y + 17, str(count), "middle", "strong"))
        parts.append(text(1 + BOX / 2, y + 31, step, "middle", "tick"))
        y += 38
    return drawing(WIDTH, y + 4, f"Flow of sessions in arm {row.arm}", *parts)


def _loss(lost: Sequence[str], middle: float) -> list[Markup]:
    top = middle - LINE * len(lost) / 2 - 3
    box = tag(
        "rect",
        class_="box lost",
        x=SIDE,
        y=top,
        width=float(WIDTH - SIDE - 2),
        height=LINE * len(lost) + 7.0,
        rx=3,
    )
    arrow = _arrow(1 + BOX / 2, middle, SIDE, middle)
    return [
        arrow,
        box,
        *(text(SIDE + 7, top + 13 + LINE * i, one, "start", "tick") for i, one in enumerate(lost)),
    ]


def _arrow(x1: float, y1: float, x2: float, y2: float) -> Markup:
    head = (
        [(x2 - 4, y2 - 5), (x2, y2), (x2 + 4, y2 - 5)]
        if x1 == x2
        else [(x2 - 5, y2 - 4), (x2, y2), (x2 - 5, y2 + 4)]
    )
    return tag("g", line(x1, y1, x2, y2, "base"), path(head, "base"))


def _lines(row: Flow, step: str) -> list[str]:
    """What was lost before a step, a line or two a reason."""
    lost = [
        (reason, count)
        for reason, count in row.unrated.items()
        if _lost_before(reason, row) == step
    ]
    return [part for reason, count in lost for part in wrapped(f"{count} {words(reason)}", 21)]


def _lost_before(reason: str, row: Flow) -> str:
    """The step that a session with this reason did not come to.

    What is owed may be the rating of a session that was held.
    """
    if reason == "owed" and row.held == row.scheduled:
        return "rated"
    if reason in ("not_reached", "owed"):
        return "reached"
    return "held" if reason.startswith("rejected") else "rated"


def flags(table: Sequence[Flagged]) -> Figure:
    """How many of the held sessions carry each flag."""
    title = "Flagged sessions"
    caption = (
        "Held sessions of each arm that carry a flag. Flags are outcomes of the treatment: "
        "they exclude no session."
    )
    names = sorted({name for row in table for name in row.flags})
    if not names:
        return Figure("flags", title, caption, empty="No flag is recorded.", scored=False)
    cells = {}
    for column, row in enumerate(table):
        for index, count in enumerate([*(row.flags[name] for name in names), row.any]):
            share = count / row.held if row.held else 0.0
            cells[index, column] = (share, f"{count}/{row.held}")
    labels = [*map(words, names), "any flag"]
    drawn = grid(title, labels, [row.arm for row in table], cells)
    return Figure("flags", title, caption, [drawn], scored=False)
