"""A figure: its drawings, caption and legend; and how an arm looks in every figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from cbt_ray.report.svg import SERIES, drawing, marker


@dataclass(frozen=True)
class Look:
    """Colour by variant and shape by model: a series is known in grey, too."""

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


def looks(analysis: Mapping[str, Any]) -> dict[str, Look]:
    """Arm -> look.

    Treatment and control come first, so that they keep their colours in every study.
    """
    arms = analysis["arms"]
    settings = analysis["settings"]
    variants = list(
        dict.fromkeys(
            [settings["treatment"], settings["control"], *(arm["variant"] for arm in arms)]
        )
    )
    models = list(dict.fromkeys(arm["model"] for arm in arms))
    return {
        arm["arm"]: Look(arm["arm"], variants.index(arm["variant"]), models.index(arm["model"]))
        for arm in arms
    }


def by_model(analysis: Mapping[str, Any]) -> dict[str, list[str]]:
    """Model -> its arms."""
    found: dict[str, list[str]] = {}
    for arm in analysis["arms"]:
        found.setdefault(arm["model"], []).append(arm["arm"])
    return found


def titles(analysis: Mapping[str, Any]) -> dict[str, str]:
    """Item -> its readable name."""
    return {item["item"]: item["title"] for item in analysis["items"]}


def rated(analysis: Mapping[str, Any]) -> bool:
    """Is there any score to draw."""
    return bool(analysis["counts"]["rated"])


def repeats(analysis: Mapping[str, Any]) -> bool:
    """Did a judge rate any session more than once."""
    return any(row["total"]["repeated"] for row in analysis["reliability"]["replicates"])


NOTHING = "Not drawn: no session is rated."
