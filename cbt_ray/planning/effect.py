"""Which difference of two arms the planned sessions could show, before there is any data."""

from __future__ import annotations

from collections.abc import Iterator

from cbt_ray.analysis.effect.asked import Arms, asked, pairs_of, question
from cbt_ray.analysis.effect.design import (
    POWERS,
    PUBLISHED,
    PUBLISHED_RANGE,
    Design,
    Variances,
    smallest_rows,
)
from cbt_ray.analysis.settings import Settings
from cbt_ray.count import many
from cbt_ray.study import Study
from cbt_ray.study.lesson import rated_by_the_headline
from cbt_ray.work.outcome import headline, targets
from cbt_ray.work.workshop import prompts_of

SMALL_RANGE = 10
"""Points of a range below which a tenth of a point is too coarse."""


def smallest_effect(study: Study, declared: Variances | None = None) -> Iterator[str]:
    """Lines of `plan`.

    `declared`: variances of totals on this study's scale; else the published ones, brought to that
    scale.
    """
    arms, settings = asked_of(study)
    pairs = pairs_of("primary", arms, settings)
    patients = rated_by_the_headline(study)
    head = f"smallest difference {_asked(arms, settings)} that it could find: "
    if not pairs or patients < 2:
        yield head + (
            f"none with {patients} patient; it takes 2"
            if pairs
            else "none, no two arms are compared"
        )
        return
    first = headline(study, prompts_of(study))
    if first.kind != "score":
        yield f"{head}not known, since {first.name} is a {first.kind} and no score"
        return
    if first.low is None or first.high is None:
        yield (
            f"{head}not known, since {first.name} has no lowest or no highest value to bring the "
            "published variances to"
        )
        return
    points = first.high - first.low
    variances = declared or PUBLISHED.scaled(points / PUBLISHED_RANGE)
    family = len(pairs) * study.analysis.primary_outcomes
    size = (len(arms), family, patients, study.sessions.replicates, study.sessions.count)
    design = Design(*size)
    rows = [
        row
        for row in smallest_rows(design, variances, settings.level)
        if (row.error_term, row.adjust) == ("own", "holm")
    ]
    least, surer = (row.difference or 0.0 for row in rows)  # none: nothing varies
    holm = f", Holm over {many(family, 'contrast')}" if family > 1 else ""
    told = f"{many(patients, 'patient')}, t with df {patients - 1}{holm}"
    if least > points:
        yield (
            f"{head}none; all {points:g} points of the scale would be found less often than "
            f"{POWERS[0]:.0%} ({told})"
        )
    else:
        yield (
            f"{head}{_points(least, points)} of {points:g} points with {POWERS[0]:.0%} power, "
            f"{_points(surer, points)} with {POWERS[1]:.0%} ({told})"
        )
    yield (
        f"assumed variances: {variances.chain:.3g} between chains, {variances.residual:.3g} "
        "between a chain's sessions; "
        f"{variances.source}"
    )


def _points(difference: float, points: float) -> str:
    """A difference, with the digits that its range asks for."""
    return f"{difference:.1f}" if points >= SMALL_RANGE else f"{difference:.2g}"


def outcomes_of(study: Study) -> Iterator[str]:
    """The outcomes in words, a line each."""
    for number, one in enumerate(targets(study, prompts_of(study))):
        rank = "primary" if number < study.analysis.primary_outcomes else "secondary"
        first = ", the headline" if number == 0 else ""
        yield f"{rank} outcome{first}: {one.name} by {one.rater}, {one.span}"


def asked_of(study: Study) -> tuple[Arms, Settings]:
    """Arms with their levels, and what is asked of them."""
    tuned = tuple(arm.name for arm in study.arms if arm.tuned)
    return study.factors, Settings(
        level=study.analysis.level, contrasts=study.contrasts, trained=tuned
    )


def _asked(arms: Arms, settings: Settings) -> str:
    """The primary contrasts in words."""
    primary = [one for one in asked(arms, settings) if one.family == "primary"]
    return "; ".join(question(one, ()) for one in primary) or "of two arms"
