"""Which difference treatment - control the planned sessions could show, before there is any
data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from cbt_ray.analysis.effect.power import (
    POWERS,
    PUBLISHED,
    PUBLISHED_RANGE,
    Design,
    Variances,
    smallest_rows,
)
from cbt_ray.analysis.settings import Settings
from cbt_ray.study import Study
from cbt_ray.work.outcome import headline
from cbt_ray.work.workplace import prompts_of


def smallest_effect(study: Study, declared: Variances | None = None) -> Iterator[str]:
    """Lines of `plan`.

    `declared`: variances of totals on this study's scale; else the published ones, brought to that
    scale.
    """
    asked, groups = (
        Settings(level=study.analysis.level),
        Counter((arm.model, arm.kind) for arm in study.arms),
    )
    models = [
        model
        for model, variant in groups
        if variant == asked.treatment and (model, asked.control) in groups
    ]
    patients = len(study.patients.simulated)
    head = f"smallest difference {asked.treatment} - {asked.control} that it could find: "
    if not models or patients < 2:
        yield head + (
            f"none with {patients} patient; it takes 2"
            if models
            else "none, no model has both arms"
        )
        return
    chains = min(groups.values()) * study.sessions.replicates
    total = headline(study, prompts_of(study))
    points = total.high - total.low
    variances = declared or PUBLISHED.scaled(points / PUBLISHED_RANGE)
    design = Design(len(groups), len(models), patients, chains, study.sessions.count)
    rows = [
        row
        for row in smallest_rows(design, variances, asked.level)
        if (row["error_term"], row["adjust"]) == ("own", "holm")
    ]
    least, surer = (row["difference"] for row in rows)
    holm = f", Holm over {len(models)} contrasts" if len(models) > 1 else ""
    size = f"{patients} patients, t with df {patients - 1}{holm}"
    if least > points:
        yield (
            f"{head}none; all {points:g} points of the scale would be found less often than "
            f"{POWERS[0]:.0%} ({size})"
        )
    else:
        yield (
            f"{head}{least:.1f} of {points:g} points with {POWERS[0]:.0%} power, {surer:.1f} with "
            f"{POWERS[1]:.0%} ({size})"
        )
    yield (
        f"assumed variances: {variances.chain:.3g} between chains, {variances.residual:.3g} "
        "between a chain's sessions; "
        f"{variances.source}"
    )
