"""Renders the page: puts analysis, figures and transcripts into the template. No clock, no network, the same bytes each time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cbt_ray.report import effect_figures, item_figures, model_figures, prose, score_figures, session_figures
from cbt_ray.report.data import ReportData
from cbt_ray.report.figure import Figure, titles

HERE = Path(__file__).parent

DRAWN: tuple[Callable[[Mapping[str, Any]], Figure], ...] = (
    effect_figures.forest,
    score_figures.distribution,
    score_figures.trajectory,
    model_figures.qq,
    item_figures.heat_map,
    item_figures.radar,
    item_figures.ceiling,
    session_figures.flow,
    session_figures.flags,
)
"""The figures about scores, in the order of the page; each is drawn from the analysis alone."""


def figures(analysis: Mapping[str, Any]) -> dict[str, Figure]:
    """Every figure about scores by its id."""
    return {figure.id: figure for figure in (draw(analysis) for draw in DRAWN)}


def render(data: ReportData, *, transcripts: bool = True) -> str:
    """One self-contained HTML file; without `transcripts` it names the sessions' scores and leaves their text out."""
    drawn = figures(data.analysis)
    loss = model_figures.loss(data.training)
    numbers = {name: number for number, name in enumerate([*drawn, loss.id], start=1)}
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            data=data,
            analysis=data.analysis,
            figures={**drawn, loss.id: loss},
            numbers=numbers,
            titles=titles(data.analysis),
            notices=_notices(data),
            range=_range(data.analysis),
            models=[model for model in data.analysis["mixed"].values() if model],
            style=_asset("page.css"),
            script=_asset("page.js"),
            transcripts=transcripts,
            sessions=_embedded(data) if transcripts else Markup("null"),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for name in ("one", "three", "signed", "probability", "percent", "whole", "money", "words", "reasons"):
        environment.filters[name] = getattr(prose, name)
    environment.globals["answer"] = prose.answer
    return environment


def _asset(name: str) -> Markup:
    """Our own style sheet or script, as it is."""
    return Markup((HERE / name).read_text(encoding="utf-8"))  # noqa: S704  our own file, not a model's text


def _notices(data: ReportData) -> list[str]:
    """The caller's doubts, then those that the scores show, each once."""
    return list(dict.fromkeys([*data.notices, *(notice["text"] for notice in data.analysis["notices"])]))


def _range(analysis: Mapping[str, Any]) -> tuple[int, int]:
    """Lowest and highest total that the scale can give."""
    settings, items = analysis["settings"], len(analysis["items"])
    return items * settings["lowest"], items * settings["highest"]


def _embedded(data: ReportData) -> Markup:
    """The sessions as JSON for a script element: no character in it can end that element or begin a tag."""
    document = json.dumps([asdict(session) for session in data.sessions], ensure_ascii=False, separators=(",", ":"), default=str)
    for character in "<>&\u2028\u2029":
        document = document.replace(character, f"\\u{ord(character):04x}")
    return Markup(document)  # noqa: S704  escaped for its place on the lines above
