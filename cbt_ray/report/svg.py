"""SVG by small functions: elements, scales, axes.

Text stays text; colours come from the page's style sheet.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

SERIES = 6
"""Number of series colours in the style sheet (`s0` to `s5`)."""


def number(value: float) -> str:
    """A coordinate: two decimals at most, so that bytes are the same everywhere and the page stays
    small.
    """
    short = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element; `class_` and `text_anchor` become `class` and `text-anchor`.

    Children that are no markup are escaped.
    """
    pairs = []
    for key, value in attributes.items():
        if value is not None:
            said = number(value) if isinstance(value, float) else str(value)
            pairs.append(f' {key.strip("_").replace("_", "-")}="{escape(said)}"')
    body = "".join(map(escape, children))
    return Markup(f"<{name}{''.join(pairs)}>{body}</{name}>")  # noqa: S704  each part was escaped


def text(
    x: float, y: float, content: str, anchor: str = "start", class_: str | None = None
) -> Markup:
    """Text at a point."""
    return tag(
        "text",
        content,
        x=float(x),
        y=float(y),
        text_anchor=None if anchor == "start" else anchor,
        class_=class_,
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str, *, closed: bool = False) -> Markup:
    """A line through points."""
    d = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points) + ("Z" if closed else "")
    return tag("path", d=d, class_=class_)


def marker(
    x: float, y: float, shape: int, class_: str, size: float = 4.0, hint: str = ""
) -> Markup:
    """A point: circle, square, diamond or triangle, so that a series is known without its
    colour.
    """
    title = [tag("title", hint)] if hint else []
    if shape % 4 == 0:
        return tag("circle", *title, cx=float(x), cy=float(y), r=float(size), class_=class_)
    s = size * 1.1
    corners = {
        1: [(-s, -s), (s, -s), (s, s), (-s, s)],
        2: [(0, -s * 1.3), (s * 1.3, 0), (0, s * 1.3), (-s * 1.3, 0)],
        3: [(0, -s * 1.2), (s * 1.2, s), (-s * 1.2, s)],
    }[shape % 4]
    return tag(
        "polygon",
        *title,
        points=" ".join(f"{number(x + a)},{number(y + b)}" for a, b in corners),
        class_=class_,
    )


def cloud(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """Many points as one element: lines of no length with round ends."""
    return tag("path", d="".join(f"M{number(x)} {number(y)}h0" for x, y in points), class_=class_)


def drawing(
    width: float, height: float, title: str, *children: str, class_: str | None = None
) -> Markup:
    """The root element; the title is what a screen reader says.

    Class `fluid`: shrinks with the page instead of scrolling.
    """
    return tag(
        "svg",
        tag("title", title),
        *children,
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=number(width),
        height=number(height),
        role="img",
        aria_label=title,
        class_=class_,
    )


@dataclass(frozen=True)
class Scale:
    """Maps data to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        if self.high == self.low:
            return (self.start + self.end) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def nice(low: float, high: float, count: int = 5, *, whole: bool = False) -> list[float]:
    """Round tick values that cover low to high; `whole` ones where the data are whole numbers."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        low, high = low - 1, low + 1
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    if whole and step != round(step):
        step = 1.0 if step < 1 else 5.0 * power if power >= 1 else math.ceil(step)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def label(value: float) -> str:
    """A tick's text, with a real minus sign."""
    rounded = f"{value:.10g}"
    return rounded.replace("-", "\N{MINUS SIGN}")


def axis_x(scale: Scale, ticks: Sequence[float], y: float, top: float, title: str) -> Markup:
    """A horizontal axis with grid lines up to `top`."""
    parts = [line(scale(tick), top, scale(tick), y, "grid") for tick in ticks]
    parts += [text(scale(tick), y + 14, label(tick), "middle", "tick") for tick in ticks]
    parts.append(text((scale.start + scale.end) / 2, y + 30, title, "middle", "axis"))
    return tag("g", *parts)


def axis_y(scale: Scale, ticks: Sequence[float], x: float, right: float, title: str) -> Markup:
    """A vertical axis with grid lines to `right`.

    Its title stands above it, so that it needs no turned head.
    """
    parts = [line(x, scale(tick), right, scale(tick), "grid") for tick in ticks]
    parts += [text(x - 6, scale(tick) + 4, label(tick), "end", "tick") for tick in ticks]
    parts.append(text(x - 28, min(scale.start, scale.end) - 10, title, "start", "axis"))
    return tag("g", *parts)


def wrapped(content: str, width: int, most: int = 2) -> list[str]:
    """A label in a few lines; what is longer ends in an ellipsis."""
    lines = textwrap.wrap(content, width) or [""]
    if len(lines) <= most:
        return lines
    rest = textwrap.shorten(
        " ".join(lines[most - 1 :]), width, placeholder="\N{HORIZONTAL ELLIPSIS}"
    )
    return [*lines[: most - 1], rest]


def grid(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[int, int], tuple[float, str]],
) -> Markup:
    """A table of shaded cells.

    A cell is (share of the darkest shade, text), so that no number hangs on a colour.

    A share below zero takes the second colour.
    """
    wide = 72 if len(columns) < 4 else 56 if len(columns) < 8 else 42
    left = 14 + min(168.0, 6.2 * max(len(part) for name in rows for part in wrapped(name, 30)))
    top = 14 + max(len(name) for name in columns) * 4.3
    parts = []
    for column, name in enumerate(columns):
        x = left + wide * (column + 0.5)
        parts.append(
            tag(
                "text",
                name,
                transform=f"translate({x:.1f} {top - 6:.1f}) rotate(-40)",
                class_="tick",
            )
        )
    for row, name in enumerate(rows):
        y = top + 26 * row
        parts.append(_row_label(name, left - 8, y + 13))
        for column in range(len(columns)):
            shade, content = cells.get((row, column), (0.0, "\N{EN DASH}"))
            place = {
                "x": left + wide * column + 1.0,
                "y": y + 1.0,
                "width": wide - 2.0,
                "height": 24.0,
            }
            hue = "heat" if shade >= 0 else "heat below"
            parts.append(tag("rect", class_=hue, fill_opacity=0.04 + 0.46 * abs(shade), **place))
            parts.append(text(left + wide * (column + 0.5), y + 17, content, "middle", "num"))
    slant = max(len(name) for name in columns) * 4.6
    return drawing(
        left + wide * (len(columns) - 0.5) + max(wide * 0.5, slant),
        top + 26 * len(rows) + 4,
        title,
        *parts,
    )


def _row_label(name: str, right: float, middle: float) -> Markup:
    lines = wrapped(name, 30)
    first = middle + 4 - 6 * (len(lines) - 1)
    return tag(
        "g", *(text(right, first + 12 * i, part, "end", "tick") for i, part in enumerate(lines))
    )
