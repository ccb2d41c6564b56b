"""Renders the page: puts sections, figures and transcripts into the template.

No clock, no network, the same bytes each time.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from cbt_ray.report import (
    answer,
    claims_section,
    declared_section,
    effect_section,
    item_section,
    judge_section,
    label_section,
    methods_section,
    model_section,
    power_section,
    prose,
    repeated_section,
    run_section,
    scale_section,
    score_section,
    session_section,
    training_section,
)
from cbt_ray.report.data import ReportData
from cbt_ray.report.facts import facts
from cbt_ray.report.figure import Figure, titles
from cbt_ray.report.forest import forest
from cbt_ray.report.part import Section, every
from cbt_ray.report.table import Table
from cbt_ray.report.transcripts import FOLDER, Packed, Where, escaped, packed

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """The page, and the files of transcripts that lie beside it."""

    html: str
    beside: Mapping[str, str]
    """Path relative to the page -> text."""
    where: Where


def sections(data: ReportData) -> list[Section]:
    """All sections in reading order; those of the analysis are drawn from it alone."""
    analysis = data.analysis
    found = [
        Section("question", "Question and answer", [forest(analysis)]),
        Section("doubt", "What casts doubt on it", []),
        effect_section.effects(analysis),
        label_section.labels(analysis),
        item_section.items(analysis),
        score_section.scores(analysis),
        model_section.models(analysis),
        session_section.sessions(analysis),
        judge_section.judge(analysis),
        scale_section.scale(analysis),
        repeated_section.repeated(analysis),
        claims_section.claims(analysis),
        power_section.power(analysis),
        declared_section.declared(analysis),
        methods_section.methods(data),
        *(
            [training_section.training(data), run_section.run(data)]
            if data.stages or data.costs or data.training
            else []
        ),
        run_section.provenance(data),
        run_section.clinical(data),
    ]
    return [section for section in found if section is not None]


def render(data: ReportData, transcripts: Where | None = None) -> Page:
    """One self-contained HTML file.

    Transcripts go inside where they are small and else beside, unless told otherwise.
    """
    pack = packed(data.sessions, data.analysis.view, data.analysis.judge)
    where = transcripts or pack.where
    found = sections(data)
    heavy, light = answer.notices(data.analysis, data.notices)
    scripts = [_asset("page.js"), *([_asset("viewer.js")] if where != "none" else [])]
    style = _asset("page.css")
    html = _template().render(
        data=data,
        sections=found,
        numbers=_numbers(found),
        facts=facts(data),
        question=answer.question(data),
        answers=answer.answers(data.analysis),
        no_answer=answer.no_answer(data.analysis),
        heavy=heavy,
        light=light,
        uncalibrated="" if answer.calibrated(data.analysis) else answer.UNCALIBRATED,
        policy=policy(scripts, style, where),
        style=style,
        scripts=scripts,
        where=where,
        folder=FOLDER,
        index=_index(data, pack) if where != "none" else "",
        chunks=pack.chunks if where == "inside" else [],
    )
    return Page(
        html,
        {chunk.file: chunk.script(pack.id) for chunk in pack.chunks} if where == "beside" else {},
        where,
    )


def policy(scripts: Sequence[str], style: str, where: Where) -> str:
    """What the browser may run: our own script and style by their hashes, and beside them only the
    files of transcripts.

    `file:` is what the page's own folder is called where it was opened from a disk; no such address
    can be reached from the web.
    """
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    beside = " 'self' file:" if where == "beside" else ""
    return (
        f"default-src 'none'; script-src {hashes}{beside}; style-src 'sha256-{_hash(style)}'; "
        "img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _numbers(found: Sequence[Section]) -> dict[tuple[str, str], int]:
    """(kind, id) of figures and tables -> their number on the page."""
    numbers: dict[tuple[str, str], int] = {}
    for part in every([part for section in found for part in section.parts]):
        if isinstance(part, Figure | Table):
            numbers[part.kind, part.id] = 1 + sum(kind == part.kind for kind, _ in numbers)
    return numbers


def _index(data: ReportData, pack: Packed) -> Markup:
    """What the viewer knows before it opens a session."""
    known = {
        "id": pack.id,
        "folder": FOLDER,
        "titles": titles(data.analysis),
        "range": answer.total_range(data.analysis),
        "sessions": pack.index,
    }
    return escaped(json.dumps(known, ensure_ascii=False, separators=(",", ":")))


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"whole": prose.whole, "counted": prose.counted, "escaped": escaped}
    return environment.get_template("page.html.j2")


@cache
def _asset(name: str) -> Markup:
    """Our own style sheet or script, as it is."""
    return Markup((HERE / name).read_text(encoding="utf-8"))  # noqa: S704  our own file, not a model's text
