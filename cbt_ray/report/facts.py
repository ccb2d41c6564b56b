"""Facts: what a reader must know of a study before its numbers mean anything; on the first
screen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.scores import RULE
from cbt_ray.report.answer import by_rule, calibrated, scale_of, who
from cbt_ray.report.data import Methods, Period, ReportData
from cbt_ray.report.prose import counted, ends, listed, whole

UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Fact:
    """A name, what stands under it, and a line of detail."""

    name: str
    value: str
    detail: str = ""


def facts(data: ReportData) -> list[Fact]:
    """Scale, judges, therapists, n and dates."""
    found = [_scale(data), _judge(data), *_factors(data), _sessions(data.analysis)]
    return [*found, *_dates(data)]


def _scale(data: ReportData) -> Fact:
    analysis, items = data.analysis, len(data.analysis.items)
    range_ = f"total {ends(*analysis.settings.ends(items))}"
    if by_rule(analysis):
        return Fact("Measure", analysis.outcomes[0].title, range_)
    size = f"{counted(items, 'item')}, {range_}"
    return Fact("Scale", scale_of(data.methods) or size, size if scale_of(data.methods) else "")


def _judge(data: ReportData) -> Fact:
    """Whose ratings make the headline, and who else rated."""
    analysis, judge = data.analysis, data.analysis.judge
    own, people = who(data.methods, judge), {"human": "a person", "model": "a model", RULE: "rules"}
    kind = "people" if analysis.judges.get(judge) == "human" else "a model"
    sure = "calibrated with people" if calibrated(analysis) else "uncalibrated"
    detail = kind if kind == "people" else f"{kind}, {sure}"
    detail = "rules that count" if by_rule(analysis) else detail
    others = [f"{name} ({people[of]})" for name, of in analysis.judges.items() if name != judge]
    further = f"; also {listed(others, 3)}" if others else ""
    return Fact("Judge", own, detail + further)


def _factors(data: ReportData) -> Iterator[Fact]:
    """The therapists by their factors, and the models that spoke."""
    arms, counts = data.analysis.arms, data.analysis.counts
    levels: dict[str, dict[str, None]] = {}
    for arm in arms:
        for factor, level in arm.factors.items():
            levels.setdefault(factor, {})[level] = None
    detail = counted(counts.arms, "arm")
    if counts.checkpoints != counts.arms:
        detail += f", {counted(counts.checkpoints, 'checkpoint')}"
    several = {name: own for name, own in levels.items() if len(own) > 1} or levels
    told = "; ".join(f"{name}: {', '.join(own)}" for name, own in several.items())
    asked = _models(data.methods, [arm.arm for arm in arms])
    yield Fact("Therapists", told or detail, f"{detail}; {asked}" if asked else detail)


def _models(methods: Methods, arms: Sequence[str]) -> str:
    """The models of the arms, where their endpoints said which."""
    found = dict.fromkeys(one.model for one in methods.speakers if one.name in arms)
    return listed(list(found), 4) if found else ""


def _sessions(analysis: Analysis) -> Fact:
    counts = analysis.counts
    rated = f"{whole(counts.rated)} of {whole(counts.scheduled)} rated"
    patients = counted(counts.patients, "simulated patient")
    return Fact("Sessions", rated, f"{patients}, {counted(counts.chains, 'chain')}")


def _dates(data: ReportData) -> Iterator[Fact]:
    """When it was done; with which seed."""
    methods = data.methods
    held = f"sessions held {days(methods.held)}" if methods.held else ""
    yield Fact("Rated", days(methods.rated), held)
    made = data.provenance.versions.get("cbt-ray", "")
    seed = "" if data.seed is None else f"seed {data.seed}"
    yield Fact("Made with", f"cbt-ray {made}".strip(), seed)


def days(span: Period | None) -> str:
    """`2 March 2026`, `2 to 5 March 2026`; that nobody knows."""
    if span is None:
        return UNKNOWN
    first, last = (datetime.fromisoformat(time) for time in (span.first, span.last))
    end = _day(last)
    if first.date() == last.date():
        return end
    same = [(first.year, first.month) == (last.year, last.month), first.year == last.year]
    start = str(first.day) if same[0] else _day(first).removesuffix(f" {first.year}" * same[1])
    return f"{start} to {end}"


def _day(time: datetime) -> str:
    return f"{time.day} {time:%B %Y}"
