"""Sessions: what became of every scheduled one, and what was flagged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from cbt_ray.report.figure import Figure
from cbt_ray.report.item_figures import grid
from cbt_ray.report.prose import words
from cbt_ray.report.svg import drawing, line, path, tag, text

STEP = 54
BOX = 104
STEPS = {"scheduled": "scheduled", "reached": "reached", "done": "held", "rated": "rated"}


def flow(analysis: Mapping[str, Any]) -> Figure:
    """Scheduled -> reached -> held -> rated, a column per arm, as CONSORT counts participants."""
    title = "Flow of the scheduled sessions"
    caption = (
        "Not reached: the chain ended before. Rejected: the session failed. Owed: not run yet. A session that was held and "
        "is not rated says why."
    )
    if not analysis["flow"]:
        return Figure("flow", title, caption, empty="Not drawn: no session is scheduled.")
    return Figure("flow", title, caption, [_column(row) for row in analysis["flow"]])


def _column(row: Mapping[str, Any]) -> Markup:
    parts = [text(2, 14, row["arm"], "start", "strong")]
    for index, (step, name) in enumerate(STEPS.items()):
        y = 24 + STEP * index
        parts.append(tag("rect", class_="box", x=1, y=y, width=BOX, height=26, rx=3))
        parts.append(text(BOX / 2, y + 17, f"{row[step]} {name}", "middle", "num"))
        if index < len(STEPS) - 1:
            parts.append(line(BOX / 2, y + 26, BOX / 2, y + STEP - 1, "base"))
            parts.append(path([(BOX / 2 - 4, y + STEP - 6), (BOX / 2, y + STEP - 1), (BOX / 2 + 4, y + STEP - 6)], "base"))
    parts += _losses(row["unrated"])
    return drawing(226, 24 + STEP * 3 + 30, f"Flow of sessions in arm {row['arm']}", *parts)


def _losses(unrated: Mapping[str, int]) -> list[Markup]:
    """Beside each arrow what was lost there."""
    losses: dict[str, list[str]] = {"reached": [], "done": [], "rated": []}
    for reason, count in unrated.items():
        losses[_lost_before(reason)].append(f"\N{MINUS SIGN}{count} {words(reason)}")
    parts = []
    for index, found in enumerate(losses.values()):
        shown = found if len(found) < 3 else [found[0], f"and {len(found) - 1} more reasons"]
        y = 24 + STEP * index + 38
        parts += [text(BOX / 2 + 9, y + 11 * i, reason, "start", "small") for i, reason in enumerate(shown)]
    return parts


def _lost_before(reason: str) -> str:
    """The step that a session with this reason did not come to."""
    if reason in ("not_reached", "owed"):
        return "reached"
    return "done" if reason.startswith("rejected") else "rated"


def flags(analysis: Mapping[str, Any]) -> Figure:
    """How many of the held sessions carry each flag."""
    title = "Flagged sessions"
    caption = "Held sessions of each arm that carry a flag. Flags are outcomes of the treatment: they exclude no session."
    table = analysis["flags"]
    names = sorted({name for row in table for name in row["flags"]})
    if not names:
        return Figure("flags", title, caption, empty="No session carries a flag.")
    cells = {}
    for column, row in enumerate(table):
        for index, name in enumerate([*names, None]):
            count = row["any"] if name is None else row["flags"][name]
            share = count / row["done"] if row["done"] else 0.0
            cells[index, column] = (share, f"{count}/{row['done']}")
    labels = [*map(words, names), "any flag"]
    return Figure("flags", title, caption, [grid(title, labels, [row["arm"] for row in table], cells)])
