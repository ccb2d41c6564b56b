"""Claims on imported ratings: as on the published table, or why there are none."""

import csv
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

from cbt_ray.analysis import ScoreRow
from cbt_ray.analysis.claims.verdict import Claims, VerdictCounts, Verdicts
from cbt_ray.analysis.table.mapping import load_mapping
from cbt_ray.stages.claims import claims_of
from cbt_ray.study.imported import Imported, ImportedJudge
from tests.analysis.tables import made_up
from tests.needs import needs

CBT = load_mapping("cbt")
JUDGE = ImportedJudge(who=str(CBT.constants["judge"]))
IMPORTED = Imported(mapping="cbt", judges={"published": JUDGE})
PAPER = "Fine-Tuning Open-Weight Language Models"


@cache
def published() -> list[ScoreRow]:
    """The published table, with the names that an import gives."""
    table = Path(os.environ.get("CBT_RAY_PUBLISHED", "")) / "cbt_scores.csv"
    needs("published", "CBT_RAY_PUBLISHED" in os.environ and table.is_file())
    with table.open(newline="") as lines:
        return [row_of(line) for line in csv.DictReader(lines)]


def row_of(line: dict[str, str]) -> ScoreRow:
    model, kind = line["group"].lower().split("_")[:2]
    variant = {"finetune": "tuned", "instruct": "instruct"}[kind]
    items: dict[str, int | None] = {
        item: int(float(line[title])) for item, title in CBT.titles.items()
    }
    return ScoreRow(
        session_key=line["group"] + line["id"],
        arm=f"{model}-{variant}",
        factors={"variant": variant, "model": model},
        patient=line["patient_id"],
        replicate=1,
        session=int(line["id"].split("_")[0]),
        phase="all",
        view="plain",
        judge_replicate=1,
        rated=True,
        judge="published",
        items=items,
        total=sum(score or 0 for score in items.values()),
    )


def test_imported_ratings_have_the_verdicts_of_the_published_table() -> None:
    own = [replace(row, judge="judge", total=11) for row in published()]  # another judge's
    found = claims_of(IMPORTED, [*published(), *own])
    assert found is not None
    assert found.counts == VerdictCounts(Verdicts(227, 2, 4), Verdicts(180, 7, 46))


def test_on_a_part_of_the_ratings_claims_are_not_judged() -> None:
    found = claims_of(IMPORTED, published()[:500])
    assert found is not None
    assert found.rows == ()
    assert found.reason == "they were made on 593 ratings, of which 500 are here"


def test_ratings_of_other_arms_or_by_other_judges_are_none_of_the_published() -> None:
    rows = [replace(row, judge="published") for row in made_up()]
    for judged in (rows, made_up()):
        found = claims_of(IMPORTED, judged)
        assert isinstance(found, Claims)
        assert (found.paper or "").startswith(PAPER)
        assert found.reason == "they were made on 593 ratings, of which 0 are here"


def test_a_study_on_which_nobody_claimed_anything_has_no_claims() -> None:
    assert claims_of(None, made_up()) is None
    assert claims_of(Imported(judges={"ana": ImportedJudge(kind="human")}), made_up()) is None
