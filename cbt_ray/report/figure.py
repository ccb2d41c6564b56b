"""A figure: its drawings, caption and legend; and how an arm looks in every figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.count import agreeing
from cbt_ray.report.prose import whole
from cbt_ray.report.svg import SERIES, drawing, marker
from cbt_ray.study.contrast import Contrast


@dataclass(frozen=True)
class Look:
    """Colour by the side of the first contrast and shape by the other factors: a series is known in
    grey, too.
    """

    label: str
    series: int
    shape: int

    @property
    def class_(self) -> str:
        """The style sheet's class."""
        return f"s{self.series % SERIES}"

    @property
    def swatch(self) -> Markup:
        """The legend's sample."""
        return drawing(14, 14, self.label, marker(7, 7, self.shape, f"dot {self.class_}"))


@dataclass(frozen=True)
class Figure:
    """One numbered figure; `empty` says why nothing could be drawn."""

    id: str
    title: str
    caption: str
    panels: Sequence[Markup] = ()
    legend: Sequence[Look] = field(default_factory=tuple)
    empty: str = ""
    scored: bool = True
    """Drawn from scores: its caption says so where nobody knows how the judge's scores relate to
    people's."""
    kind: str = "figure"


def asked(analysis: Analysis, family: str = "primary") -> list[Contrast]:
    """The contrasts of a family."""
    known = analysis.settings.contrasts or ()
    return [contrast for contrast in known if contrast.family == family]


def looks(analysis: Analysis) -> dict[str, Look]:
    """Arm -> look.

    The sides of the first contrast come first, so that they keep their colours in every study.
    """
    own, others = _levels(analysis)
    first = asked(analysis)[:1]
    sides = [tuple(side.values()) for one in first for side in (one.plus, one.minus)]
    series, shapes = (list(dict.fromkeys(known)) for known in ([*sides, *own], others))
    return {
        arm.arm: Look(arm.arm, series.index(side), shapes.index(other))
        for arm, side, other in zip(analysis.arms, own, others, strict=True)
    }


def _levels(analysis: Analysis) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Per arm: its levels of the first contrast's factors, and of the others."""
    first = asked(analysis)[:1]
    factors = [arm.factors for arm in analysis.arms]
    names = list(first[0].plus) if first else list(dict.fromkeys(f for own in factors for f in own))
    return (
        [tuple(own.get(name, "") for name in names) for own in factors],
        [tuple(level for name, level in own.items() if name not in names) for own in factors],
    )


def together(analysis: Analysis) -> dict[str, list[str]]:
    """The arms that are compared with each other, under the levels that they share; all arms where
    they share none.
    """
    found: dict[str, list[str]] = {}
    for arm, other in zip(analysis.arms, _levels(analysis)[1], strict=True):
        found.setdefault(" ".join(other) or "all arms", []).append(arm.arm)
    return found


def titles(analysis: Analysis) -> dict[str, str]:
    """Item -> its readable name."""
    return {item.item: item.title for item in analysis.items}


def decimals(analysis: Analysis) -> int:
    """Of a difference in the headline: one of points, more of what is below 1 or not much above."""
    settings = analysis.settings
    low, high = settings.total or (None, None)
    wide = low is not None and high is not None and high - low >= 10
    if settings.kind == "score" or wide:
        return 1
    return 2 if settings.kind == "count" else 3


def rated(analysis: Analysis) -> bool:
    """Is there any score to draw."""
    return bool(analysis.counts.rated)


def sessions_an_arm(analysis: Analysis) -> str:
    """`95 to 100 rated sessions an arm.`, for a caption."""
    rated_ = sorted({row.rated for row in analysis.scores})
    counts = " to ".join(map(whole, dict.fromkeys([rated_[0], rated_[-1]]))) if rated_ else "0"
    noun = agreeing(max(rated_, default=0), "rated session")
    return f"{counts} {noun} an arm."


def repeats(analysis: Analysis) -> bool:
    """Did a judge rate any session more than once."""
    return any(row.total.repeated for row in analysis.reliability.replicates)


NOTHING = "Not drawn: no session is rated."
