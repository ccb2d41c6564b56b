"""The first screen: what a reader must know before a number means anything."""

from dataclasses import replace

import pytest

from cbt_ray.analysis import analyse
from cbt_ray.report import Methods, Period, RaterRow, ReportData
from cbt_ray.report.answer import question
from cbt_ray.report.facts import Fact, days, facts
from cbt_ray.report.figure import sessions_an_arm
from tests.analysis.tables import made_up
from tests.report import study
from tests.report.sample import methods, sample


def told(**more: object) -> dict[str, Fact]:
    data = sample([], analysis=study.analysis(), **more)
    return {fact.name: fact for fact in facts(data)}


def test_a_study_names_scale_judge_therapists_n_and_dates() -> None:
    found = told(methods=Methods(scale="Rating Scale", rated=Period("2026-03-05", "2026-03-09")))
    assert found["Scale"] == Fact("Scale", "Rating Scale", "11 items, total 11 to 110")
    assert found["Judge"].value == "judge"
    assert found["Judge"].detail.startswith("a model, calibrated with people; also rater one")
    assert found["Therapists"].value == "model: birch, maple, willow; variant: instruct, tuned"
    assert found["Sessions"].value.endswith(" of 600 rated")
    assert found["Sessions"].detail == "5 simulated patients, 30 chains"
    assert found["Rated"].value == "5 to 9 March 2026"
    assert found["Made with"] == Fact("Made with", "cbt-ray", "seed 7")


def test_what_is_not_known_is_not_made_up() -> None:
    found = told(methods=Methods(), seed=None)
    assert found["Scale"] == Fact("Scale", "11 items, total 11 to 110")
    assert found["Rated"] == Fact("Rated", "not recorded")
    assert found["Made with"].detail == ""


def test_an_imported_judge_is_called_by_its_model() -> None:
    analysis = replace(study.analysis(), judge="published", judges={"published": "model"})
    known = Methods(raters=[RaterRow("published", "model", "a-model-1", 3, "", 2, 1)])
    data: ReportData = sample([], analysis=analysis, methods=known)
    assert facts(data)[1].value == "a-model-1"
    assert "from a-model-1 with variant tuned" in question(data)
    unknown = sample([], analysis=analysis, methods=Methods())
    assert "from published with variant tuned" in question(unknown)


def test_the_question_names_the_scale_where_it_is_known() -> None:
    data = sample([], analysis=study.analysis(), methods=Methods(scale="Rating Scale"))
    assert "a higher total on the Rating Scale from the judge" in question(data)
    assert " on the " not in question(replace(data, methods=Methods()))
    assert methods().scales[0].title in question(replace(data, methods=methods()))


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("2026-03-05T09:00:00+00:00", "2026-03-05T21:00:00+00:00", "5 March 2026"),
        ("2026-03-05T09:00:00+00:00", "2026-03-09T00:00:00+00:00", "5 to 9 March 2026"),
        ("2026-03-31", "2026-04-01", "31 March to 1 April 2026"),
        ("2025-12-31", "2026-01-01", "31 December 2025 to 1 January 2026"),
    ],
)
def test_days_as_people_write_them(first: str, last: str, said: str) -> None:
    assert days(Period(first, last)) == said


def test_captions_count_the_sessions_of_an_arm() -> None:
    rated = [row.rated for row in study.analysis().scores]
    assert (
        sessions_an_arm(study.analysis()) == f"{min(rated)} to {max(rated)} rated sessions an arm."
    )
    same = analyse(made_up(sessions=4))
    assert sessions_an_arm(same) == f"{same.scores[0].rated} rated sessions an arm."
