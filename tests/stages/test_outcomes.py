"""People and rules as raters, and several outcomes: a small study from `plan` to the report, as a
user runs it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.__main__ import run
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.unit import Stage
from tests.stages import scripted
from tests.stages.test_prompts_only import DOCUMENT, study

__all__ = ["study"]
COUNTER = {
    "kind": "rule",
    "rules": {
        "talk": {"count": "words", "share": True, "title": "Share of the therapist's words"},
        "words": {"count": "words"},
        "loops": {"flag": "repetition"},
    },
}
BY_HAND = "bring their ratings in with: cbt-ray import ratings FILE.csv"


def write(file: Path, **changes: Any) -> None:
    file.write_text(yaml.safe_dump(DOCUMENT | changes, sort_keys=False))


def places() -> Iterator[tuple[str, str, int]]:
    """Every session: arm, patient, number."""
    for arm in DOCUMENT["arms"]:
        for patient in DOCUMENT["patients"]["simulated"]:
            for number in (1, 2):
                yield arm["name"], patient["name"], number


def ratings(file: Path, totals: Sequence[int]) -> Path:
    """A table of what people say of the first sessions."""
    rows = [
        f"{arm},{patient},{number},{total}"
        for (arm, patient, number), total in zip(places(), totals, strict=False)
    ]
    file.write_text("\n".join(["arm,patient,session,total", *rows, ""]))
    return file


def analysis_of(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (file.parent / "runs" / "prompts" / "tables" / "analysis.json").read_text()
    )
    return found


def test_people_are_waited_for_and_then_make_the_headline(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(study, raters={"crew": {"kind": "people"}})
    assert run(["check", str(study)]) == 0
    assert "roles: patient, summariser, therapist\n" in capsys.readouterr().out
    assert run(["plan", str(study)]) == 0
    planned = capsys.readouterr().out
    assert "raters.crew: people are to rate all of 12 sessions on ctrs, ratings of 0" in planned
    assert "\nratings " not in planned
    assert run(["study", str(study), "--inline"]) == 2
    assert f"raters.crew: people have rated 0 of 12 sessions; {BY_HAND}" in capsys.readouterr().err

    some = ratings(tmp_path / "some.csv", range(40, 45))
    assert run(["import", "ratings", str(some), str(study), "--judge", "crew"]) == 0
    assert run(["status", str(study)]) == 0
    assert f"raters.crew: people have rated 5 of 12 sessions; {BY_HAND}" in capsys.readouterr().out
    assert run(["study", str(study), "--inline"]) == 2

    totals = [40, 42, 50, 52, 60, 62, 51, 53, 62, 64, 73, 75]
    whole = ratings(tmp_path / "all.csv", totals)
    assert run(["import", "ratings", str(whole), str(study), "--judge", "crew"]) == 0
    assert run(["study", str(study), "--inline"]) == 0
    capsys.readouterr()
    assert run(["status", str(study)]) == 0
    assert "raters.crew: people have rated 12 of 12 sessions\n" in capsys.readouterr().out
    assert run(["plan", str(study)]) == 0
    assert "ratings of 12 are imported" in capsys.readouterr().out
    analysis = analysis_of(study)
    assert (analysis["judge"], analysis["judges"]) == ("crew", {"crew": "human"})
    (row,) = analysis["contrasts"]["primary"]["rows"]
    assert row["estimate"] == pytest.approx(12)  # 11, 12 and 13 of the patients
    assert row["se"] == pytest.approx(3**-0.5)
    assert analysis["declared"]["before_first_rating"], "declared before a session could be read"


def test_a_sample_by_people_is_enough_where_the_study_says_so(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raters = {"judge": {"endpoint": "script"}, "crew": {"kind": "people", "sessions": "some"}}
    write(study, raters=raters, analysis={"outcomes": ["judge.total", "crew.total"]})
    assert run(["study", str(study), "--inline"]) == 2
    some = ratings(tmp_path / "some.csv", range(40, 45))
    assert run(["import", "ratings", str(some), str(study), "--judge", "crew"]) == 0
    capsys.readouterr()
    assert run(["study", str(study), "--inline"]) == 0
    _, crew = analysis_of(study)["outcomes"]
    assert [(arm["scheduled"], arm["n"]) for arm in crew["arms"]] == [(6, 5), (6, 0)]
    assert crew["without"] == {"not_rated": 7}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--kind", "model"], "kind: expected human of raters.crew, which is people; found model"),
        (["--judge", "judge"], "expected a name with letters or digits other than judge, counter"),
    ],
)
def test_ratings_of_people_are_of_people(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    raters = {"judge": {"endpoint": "script"}, "crew": {"kind": "people"}, "counter": COUNTER}
    write(study, raters=raters)
    assert run(["simulate", str(study), "--inline"]) == 0
    table = str(ratings(tmp_path / "some.csv", range(40, 45)))
    whose = [] if "--judge" in more else ["--judge", "crew"]
    assert run(["import", "ratings", table, str(study), *whose, *more]) == 2
    assert said in capsys.readouterr().err


def test_rules_count_without_a_model_and_are_an_outcome(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raters = {"judge": {"endpoint": "script"}, "counter": COUNTER}
    outcomes = ["judge.total", "counter.talk", "loops"]
    analysis = {"outcomes": outcomes[:2], "primary_outcomes": 2}
    write(study, raters=raters, analysis=analysis)
    assert run(["plan", str(study)]) == 0
    planned = capsys.readouterr().out
    assert "primary outcome, the headline: total by judge, 11 to 110\n" in planned
    assert "primary outcome: counter.talk by counter, 0 to 100\n" in planned
    assert "Holm over 2 contrasts" in planned
    plan = study.parent / "plan.md"
    assert run(["preregister", str(study), "--to", str(plan)]) == 0
    told = plan.read_text()
    assert "- counter.talk by `counter`, 0 to 100: primary\n" in told
    assert "Holm over these contrasts of all primary outcomes" in told
    assert "`counter`: rules count talk, words, loops" in told
    assert run(["study", str(study), "--inline"]) == 0

    store = study.parent / "runs"
    shares: dict[str, list[float]] = {"plain": [], "socratic": []}
    for key, unit in scripted.units(store, Stage.SESSIONS, study="prompts").items():
        session = Session.from_json(unit.content)
        said = [len(turn.text.split()) for turn in session.turns_of(Speaker.THERAPIST)]
        shares[key.split("/")[-2].split(".")[0]].append(100 * sum(said) / session.words)
    found = analysis_of(study)
    total, talk = found["outcomes"]
    assert {arm["arm"]: arm["mean"] for arm in talk["arms"]} == {
        arm: pytest.approx(sum(values) / len(values)) for arm, values in shares.items()
    }
    (row,) = talk["contrasts"]
    difference = sum(shares["socratic"]) / 6 - sum(shares["plain"]) / 6
    assert row["estimate"] == pytest.approx(difference)
    p = sorted([total["contrasts"][0]["p"], row["p"]])
    assert sorted(one["contrasts"][0]["p_adjusted"] for one in (total, talk)) == pytest.approx(
        [min(2 * p[0], 1), max(2 * p[0], p[1])]
    )
    assert found["judges"] == {"counter": "rule", "judge": "model"}
    assert [one["judge"] for one in found["reliability"]["replicates"]] == ["judge"]
    page = (store / "prompts" / "report.html").read_text()
    for id_ in ("t-outcomes", "t-outcome-arms", "t-outcome-contrasts"):
        assert f'id="{id_}"' in page or f"cap-{id_}" in page
    assert 'data-key="/outcomes/1/contrasts/0/estimate"' in page


def test_a_study_of_rules_alone_calls_no_judge(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(study, raters={"counter": COUNTER}, analysis={"outcomes": ["words", "talk"]})
    assert run(["check", str(study)]) == 0
    assert run(["plan", str(study)]) == 0
    assert "not known, since counter.words is a count and no score" in capsys.readouterr().out
    assert run(["study", str(study), "--inline"]) == 0
    assert scripted.units(study.parent / "runs", Stage.RATINGS, study="prompts") == {}
    found = analysis_of(study)
    assert found["settings"]["total"] == [0, None]
    assert [one["kind"] for one in found["outcomes"]] == ["count", "share"]
    assert found["settings"]["kind"] == "count"
    (bounds,) = found["policies"]["bounds"]
    assert bounds["reason"] == "the measure has no lowest or no highest value"
    assert found["declared"]["before_first_rating"]
    assert not {"once", "uncalibrated"} & {one["id"] for one in found["notices"]}
    page = (study.parent / "runs" / "prompts" / "report.html").read_text()
    assert "do sessions get a higher total in words from the rules counter" in page
    assert "total at least 0" in page
    assert "rules that count" in page
    assert "words: words of the therapist" in page


def test_a_regex_that_takes_too_long_ends_the_analysis_with_a_line(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = {"count": "matches", "regex": ".*" * 6 + r"\d{9}", "of": "both"}
    write(study, raters={"counter": {"kind": "rule", "rules": {"n": slow}}})
    assert run(["study", str(study), "--inline"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"raters\.counter\.rules: expected regular expressions that a session", said)
    assert said.endswith("with one it takes more than 0.5 s")


def test_a_ratio_may_be_the_headline(study: Path) -> None:
    raters = {"judge": {"endpoint": "script", "scales": ["miti"]}}
    write(study, raters=raters, analysis={"outcomes": ["reflections_to_questions"]})
    assert run(["study", str(study), "--inline"]) == 0
    found = analysis_of(study)
    units = scripted.units(study.parent / "runs", Stage.RATINGS, study="prompts").values()
    lost = [
        unit
        for unit in units
        if unit.content["measures"]["reflections_to_questions"]["value"] is None
    ]
    assert lost, "the script must leave a session without a question"
    (only,) = found["outcomes"]
    assert only["without"] == {"division_by_zero": len(lost)}
    assert sum(arm["n"] for arm in only["arms"]) == 12 - len(lost)
    counts = [
        item["score"]
        for unit in units
        for name, item in unit.content["items"].items()
        if name in {one["item"] for one in found["items"]}
    ]
    assert (found["settings"]["lowest"], found["settings"]["highest"]) == (0, max(counts))
