"""Outcomes, by hand: with 2 degrees of freedom the two-sided p of t is 1 - t / sqrt(2 + t * t)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cbt_ray.analysis import Analysis, ScoreRow, Settings, analyse
from cbt_ray.analysis.document import from_json, to_json
from cbt_ray.analysis.settings import Outcome
from tests.analysis.tables import made_up

PATIENTS = ("ada", "ben", "eve")
GAIN = {"total": (1, 2, 3), "other": (3, 4, 5), "third": (0, 1, 2)}
"""Measure -> by how much each patient's tuned session is above the instruct one."""
P = {"total": 0.0741799, "other": 0.0202041, "third": 0.2254033}
"""t = mean / (1 / sqrt 3): 3.4641, 6.9282, 1.7321."""


def rows(rater: str = "judge") -> list[ScoreRow]:
    found = []
    for row in made_up(patients=PATIENTS, sessions=1):
        tuned = row.factors["variant"] == "tuned"
        at = PATIENTS.index(row.patient)
        values = {name: 20.0 + (gain[at] if tuned else 0) for name, gain in GAIN.items()}
        found.append(replace(row, judge=rater, total=values["total"], measures=values))
    return found


def settings(primary: int = 1, **changes: Any) -> Settings:
    outcomes = tuple(
        Outcome("judge", name, name.title(), 0, 50, "score", primary=number < primary)
        for number, name in enumerate(GAIN)
    )
    known = Settings(outcomes=outcomes, total=(0, 50), items=("agenda", "feedback", "homework"))
    return replace(known, **changes)


def adjusted(analysis: Analysis) -> dict[str, tuple[float | None, float | None]]:
    found = {}
    for one in analysis.outcomes:
        (row,) = one.contrasts
        found[one.measure] = (row.p, row.p_adjusted)
    return found


@pytest.mark.parametrize(
    ("primary", "holm"),
    [
        (1, {"total": P["total"], "other": P["other"], "third": P["third"]}),
        (2, {"total": P["total"], "other": 2 * P["other"], "third": P["third"]}),
        (3, {"total": 2 * P["total"], "other": 3 * P["other"], "third": P["third"]}),
    ],
)
def test_holm_goes_over_the_contrasts_of_the_outcomes_declared_primary(
    primary: int, holm: dict[str, float]
) -> None:
    analysis = analyse(rows(), settings(primary))
    assert adjusted(analysis) == {
        name: (pytest.approx(P[name], abs=1e-7), pytest.approx(holm[name], abs=3e-7))
        for name in GAIN
    }
    (headline,) = analysis.contrasts.primary.rows
    assert headline.p_adjusted == pytest.approx(holm["total"], abs=3e-7)
    assert [one.family for one in analysis.outcomes] == [
        primary if number < primary else 1 for number in range(3)
    ]
    assert analysis.power.family == primary


def test_each_outcome_says_what_its_arms_have() -> None:
    total, other, _ = analyse(rows(), settings()).outcomes
    assert [(arm.arm, arm.scheduled, arm.n, arm.mean) for arm in other.arms] == [
        ("smollm2-instruct", 3, 3, 20),
        ("smollm2-tuned", 3, 3, 24),
    ]
    assert [arm.sd for arm in other.arms] == [0, 1]
    assert (total.rater, total.view, total.without) == ("judge", "plain", {})
    (row,) = other.contrasts
    assert (row.estimate, row.se) == (pytest.approx(4), pytest.approx(3**-0.5))


def test_a_measure_that_a_session_does_not_have_is_missing_and_counted() -> None:
    known = rows()
    known[0] = replace(
        known[0],
        measures=known[0].measures | {"other": None},
        unmeasured={"other": "division_by_zero"},
    )
    known[1] = replace(
        known[1], rated=False, reason="judge_failed:malformed", total=None, measures={}
    )
    total, other, _ = analyse(known, settings()).outcomes
    assert total.without == {"judge_failed:malformed": 1}
    assert other.without == {"division_by_zero": 1, "judge_failed:malformed": 1}
    assert [(arm.scheduled, arm.n) for arm in other.arms] == [(3, 1), (3, 3)]
    (row,) = other.contrasts
    assert row.patients == 1
    assert row.p is None
    assert row.p_adjusted is None


def test_an_outcome_that_nobody_rated_keeps_its_place_in_the_family() -> None:
    absent = Outcome("crew", "total", "Total", 0, 50, "score", primary=True)
    known = settings()
    analysis = analyse(rows(), replace(known, outcomes=(known.outcomes[0], absent)))
    total, crew = analysis.outcomes
    assert (crew.contrasts, crew.reason) == ([], "no session was rated by crew")
    (row,) = total.contrasts
    assert row.p_adjusted == pytest.approx(2 * P["total"], abs=3e-7)
    assert (total.family, crew.family) == (2, 2)


def test_a_headline_without_ends_is_analysed_and_what_needs_them_is_withheld() -> None:
    with_ends = analyse(rows(), settings())
    found = analyse(rows(), settings(total=(None, None)))
    assert found.contrasts.primary == with_ends.contrasts.primary
    (bounds,), (lowest,) = found.policies.bounds, found.policies.lowest
    assert (bounds.low, bounds.high) == (None, None)
    assert bounds.reason == "the measure has no lowest or no highest value"
    assert (lowest.estimate, lowest.low) == (None, None)
    assert lowest.reason == "the measure has no lowest value"
    assert found.policies.lee == with_ends.policies.lee
    half = analyse(rows(), settings(total=(0, None)))
    assert half.policies.lowest == with_ends.policies.lowest
    assert half.policies.bounds == found.policies.bounds


def test_the_total_is_the_only_outcome_where_none_was_declared() -> None:
    analysis = analyse(made_up(), Settings())
    (only,) = analysis.outcomes
    assert (only.rater, only.measure, only.primary) == ("judge", "total", True)
    (row,), (same,) = only.contrasts, analysis.contrasts.primary.rows
    assert {name: getattr(same, name) for name in vars(row)} == vars(row)
    assert from_json(Analysis, to_json(analysis)).outcomes == [only]


def test_what_rules_count_is_an_outcome_and_agrees_with_nobody() -> None:
    counted = [
        replace(row, kind="rule", items={}, total=None, measures={"counter.n": row.total})
        for row in rows("counter")
    ]
    words = Outcome("counter", "counter.n", "N", 0, None, "count", primary=False)
    known = settings()
    analysis = analyse([*rows(), *counted], replace(known, outcomes=(known.outcomes[0], words)))
    alone = analyse(rows(), settings())
    assert analysis.judges == {"counter": "rule", "judge": "model"}
    assert analysis.reliability == alone.reliability
    assert analysis.contrasts == alone.contrasts
    (row,) = analysis.outcomes[1].contrasts
    assert row.estimate == pytest.approx(2)
    assert "Garwood" in str(row.method)
