"""The claims of The Thinking Therapist's abstract, on its published table and on what its judge
wrote.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cbt_ray.analysis import ScoreRow
from cbt_ray.analysis.claims.claims_file import load_claims
from cbt_ray.analysis.claims.verdict import Claims, VerdictCounts, Verdicts
from cbt_ray.analysis.table.mapping import load_mapping
from cbt_ray.commands.analyze import analyze
from cbt_ray.prompts import Prompts
from cbt_ray.published.act.publication import read_published
from cbt_ray.published.act.repository import open_repository
from cbt_ray.rating.measure import Value
from cbt_ray.rating.scale import joined
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.stages.claims import claims_of
from cbt_ray.study.imported import Imported, ImportedJudge
from tests.needs import needs
from tests.published.act.clone import published

pytestmark = pytest.mark.slow
CROSSED = "orpo.empathy.reasoning.instruct.answer"


def verdicts(found: Claims) -> dict[str, tuple[str, str]]:
    """The claims that are not borne out under both analyses."""
    return {
        row.id: (row.published.verdict, row.default.verdict)
        for row in found.rows
        if {row.published.verdict, row.default.verdict} != {"borne_out"}
    }


def p_of(found: Claims, claim: str) -> str:
    (row,) = (row for row in found.rows if row.id == claim)
    return f"{row.published.recomputed:.3f}"


def test_on_the_published_table(tmp_path: Path) -> None:
    path = Path(os.environ.get("CBT_RAY_PUBLISHED", "")) / "act_scores.csv"
    needs("published", "CBT_RAY_PUBLISHED" in os.environ and path.is_file())
    found = analyze(path, "act", tmp_path, {}, lambda _: None, report=False).claims
    assert verdicts(found) == {
        "omnibus.fidelity": ("borne_out", "not_testable"),
        "omnibus.empathy": ("borne_out", "not_testable"),
        CROSSED: ("not_borne_out", "borne_out"),
        "reasoning.sft.p": ("borne_out", "not_borne_out"),
    }
    assert p_of(found, CROSSED) == "0.104"


def test_on_what_the_judge_wrote() -> None:
    scale = joined(load_scales(Prompts(), ("act-fm", "tes")))
    rows = [
        row_of(one.variant.arm, dict(one.variant.factors), number, scale.values(judged.scores))
        for one in read_published(open_repository(published())).therapists
        for number, judged in one.ratings.items()
    ]
    judge = ImportedJudge(who=str(load_mapping("act").constants["judge"]))
    found = claims_of(Imported(mapping="act", judges={"published": judge}), rows)
    assert found is not None
    assert found.counts == VerdictCounts(Verdicts(26, 2, 0), Verdicts(25, 1, 2))
    assert verdicts(found)["omnibus.empathy"] == ("not_borne_out", "not_testable")
    assert p_of(found, CROSSED) == "0.076"


def row_of(arm: str, factors: dict[str, str], patient: int, measures: dict[str, Value]) -> ScoreRow:
    return ScoreRow(
        session_key=f"{arm}.{patient}",
        arm=arm,
        factors=factors,
        patient=f"Profile {patient}",
        replicate=1,
        session=1,
        phase="all",
        view="plain",
        judge_replicate=1,
        rated=True,
        judge="published",
        items={"act-fm.item_1": 1},
        measures={name: value.value for name, value in measures.items()},
        total=0.0,
    )


def test_each_pair_of_a_trained_by_preferences_and_another_is_claimed_in_both_outcomes() -> None:
    pairs = [claim for claim in load_claims("act").all() if claim.id.count(".") == 4]
    assert len(pairs) == len({str(claim.published.path) for claim in pairs}) == 2 * 2 * 4
