"""Sections on how the study was run: units of each stage, cost, and what made the numbers."""

from __future__ import annotations

from collections.abc import Mapping

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.document import to_json
from cbt_ray.report.data import ReportData
from cbt_ray.report.part import Fold, Heading, Pairs, Part, Section, Source, Text
from cbt_ray.report.prose import money, one, reasons, whole, words
from cbt_ray.report.table import Cell, Row, Table

CLINICAL = (
    "This report is about language models that talk to simulated patients, rated by {rater}. It "
    "says nothing "
    "about the care of people, and none of its models may be used for it. Whoever is in a crisis "
    "needs people: call the "
    "emergency number or a crisis line of your country."
)


def run(data: ReportData) -> Section:
    """Units of each stage, calls, cost and time."""
    stages = [
        _row(r.stage, whole(r.done), whole(r.not_reached), whole(r.owed), reasons(r.rejected))
        for r in data.stages
    ]
    head = [
        ("Stage", False),
        ("Done", False),
        ("Not reached", False),
        ("Owed", False),
        ("Rejected", True),
    ]
    parts: list[Part] = [
        Table(
            "t-stages",
            "Units of each stage",
            head,
            stages,
            empty="" if stages else "No stage has run.",
        ),
        _costs(data),
    ]
    return Section("run", "Stages and cost", parts)


def _costs(data: ReportData) -> Table:
    names = ("calls", "prompt_tokens", "reply_tokens")
    rows = [
        _row(
            row.stage,
            *(whole(getattr(row, name)) for name in names),
            money(row.cost),
            one(row.seconds),
            reasons(row.faults),
        )
        for row in data.costs
    ]
    if rows:
        known = [row.cost for row in data.costs if row.cost is not None]
        sums = [whole(sum(getattr(row, name) for row in data.costs)) for name in names]
        rows.append(
            _row(
                "all",
                *sums,
                money(sum(known) if known else None),
                one(sum(row.seconds for row in data.costs)),
                "",
            )
        )
    head = [
        ("Stage", False),
        ("Calls", False),
        ("Prompt tokens", False),
        ("Reply tokens", False),
        ("Cost", False),
        ("Seconds", False),
        ("Faults", True),
    ]
    note = (
        "Faults are calls that were repeated or given up."
        if any(row.faults for row in data.costs)
        else ""
    )
    return Table(
        "t-costs",
        "Calls to language models, and time",
        head,
        rows,
        note,
        "" if rows else "No call is recorded.",
    )


def _row(*texts: str) -> Row:
    return Row([Cell(text) for text in texts])


def provenance(data: ReportData) -> Section:
    """Versions, models, prompts, digests, settings, the study file."""
    made = data.provenance
    groups: dict[str, Mapping[str, object]] = {
        "Versions, when the scores were analysed": made.versions,
        "Models, as their endpoints report them": made.models,
        "Digests": made.digests,
        "Settings of the analysis": _settings(data.analysis),
    }
    parts: list[Part] = []
    for title, pairs in groups.items():
        if pairs:
            parts += [Heading(title), Pairs(pairs)]
    if made.study_file:
        parts.append(Fold("Study file", [Source(made.study_file)]))
    return Section("provenance", "Provenance", parts)


def _settings(analysis: Analysis) -> dict[str, object]:
    """Settings of the analysis as names and values."""
    shown = {
        words(name): value
        for name, value in to_json(analysis.settings).items()
        if name not in ("titles", "items", "arms")
    }
    return {**shown, "schema version": analysis.schema_version}


def clinical(data: ReportData) -> Section:
    """What it is not for."""
    people = data.analysis.judges.get(data.analysis.judge) == "human"
    rater = "people" if people else "another language model"
    return Section("clinical", "Not for clinical use", [Text(CLINICAL.format(rater=rater))])
