"""Sentences that hold of some studies only: each is on the page where it is true, and absent where
it is not.
"""

import html
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.analysis import Analysis, ScoreRow, Scores, Settings, analyse
from cbt_ray.analysis.claims.verdict import Claims
from cbt_ray.analysis.declared import Declaration
from cbt_ray.commands.plan import print_plan
from cbt_ray.commands.preregister import document
from cbt_ray.report import Methods, Provenance, RaterRow, render
from cbt_ray.stages.evidence import Reading, notices_of
from cbt_ray.stages.methods import notices_of as notices_on
from cbt_ray.study import load_study
from cbt_ray.study.contrast import Contrast
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.outcome import targets
from cbt_ray.work.progress import Silent
from cbt_ray.work.workshop import prompts_of
from tests.analysis.tables import Key, made_up
from tests.report import study
from tests.report.sample import methods, sample
from tests.stages import scripted

pytestmark = pytest.mark.slow


def noisy(key: Key, item: str) -> int:
    return (
        2
        + (len(key[0] + item) * ord(key[2][0]) + 3 * len(key[1]) * key[3]) % 7
        + (key[1] == "tuned")
    )


def lost(*keys: tuple[str, str, int], reason: str = "not_reached") -> Callable[[Key], str | None]:
    return lambda key: reason if key[1:] in keys else None


def by(judge: str, kind: str, rows: list[ScoreRow]) -> list[ScoreRow]:
    return [replace(row, judge=judge, kind=kind) for row in rows]


THREE: dict[str, Any] = {"patients": ("ada", "ben", "cy")}
TRUE = Settings()
STUDIES: dict[str, tuple[list[ScoreRow], Settings]] = {
    "2 x 3": (made_up(noisy, **THREE), TRUE),
    "two models": (
        made_up(noisy, models=("a", "bb"), patients=("ada", "ben", "cy", "di", "eve", "fay")),
        TRUE,
    ),
    "lost": (
        made_up(noisy, lost(("tuned", "ada", 3), ("tuned", "ada", 2)), sessions=6, **THREE),
        TRUE,
    ),
    "an arm lost": (
        made_up(noisy, lambda key: "rejected:empty" if key[1] == "tuned" else None, **THREE),
        TRUE,
    ),
    "owed": (made_up(noisy, lost(("instruct", "cy", 1), reason="owed"), **THREE), TRUE),
    "nothing trained": (
        made_up(noisy, variants=("short", "long"), **THREE),
        Settings(
            contrasts=(
                Contrast(name="length", plus={"variant": "long"}, minus={"variant": "short"}),
            )
        ),
    ),
    "one arm": (made_up(noisy, variants=("instruct",), **THREE), TRUE),
    "one patient": (made_up(noisy, patients=("ada",)), TRUE),
    "one session": (made_up(noisy, sessions=1, **THREE), TRUE),
    "no overlap": (
        made_up(
            noisy,
            lambda key: "judge_failed" if (key[1] == "tuned") == (key[2] == "ada") else None,
            **THREE,
        ),
        TRUE,
    ),
    "unrated": (made_up(reason=lambda key: "judge_failed"), TRUE),
    "nothing": ([], TRUE),
    "replicates": (made_up(noisy, replicates=2, **THREE), TRUE),
    "twice trained": (
        [
            *made_up(noisy, **THREE),
            *(
                replace(
                    row, seed=2, session_key=f"2/{row.session_key}", total=(row.total or 0) + more
                )
                for more, row in enumerate(made_up(noisy, variants=("tuned",), **THREE))
            ),
        ],
        TRUE,
    ),
    "crowded": (
        made_up(lambda key, item: 5 + (len(key[1] + key[2]) + key[3]) % 5 // 4, **THREE),
        TRUE,
    ),
    "a person": (by("ana", "human", made_up(noisy, **THREE)), Settings(judge="ana")),
    "imported": (by("published", "model", made_up(noisy, **THREE)), Settings(judge="published")),
    "two judges": (
        [*made_up(noisy, **THREE), *by("other", "model", made_up(noisy, **THREE))],
        TRUE,
    ),
    "silent": ([replace(row, heard=row.session - 1) for row in made_up(noisy, **THREE)], TRUE),
    "unflagged": ([replace(row, flags=[]) for row in made_up(noisy, **THREE)], TRUE),
}

NAMES = [*STUDIES, "items apart", "whole", "a part of what was published"]


@cache
def analysed(name: str) -> Analysis:
    if name == "whole":
        return study.analysis()
    if name == "a part of what was published":
        why = "they were made on 593 ratings, of which 76 are here"
        return replace(analysed("imported"), claims=Claims(paper="A paper", reason=why))
    if name == "items apart":
        rows = STUDIES["2 x 3"][0]
        return analyse(rows, apart=Scores.of(rows).ratings)
    rows, settings = STUDIES[name]
    return analyse(rows, settings)


@cache
def page(name: str) -> str:
    """The page's text, without what is not shown for a table or figure that is empty."""
    return shown(analysed(name), Methods())


def shown(analysis: Analysis, methods: Methods) -> str:
    data = sample(
        [],
        analysis=analysis,
        methods=methods,
        training=[],
        sessions=[],
        costs=[],
        stages=[],
        notices=list(notices_on(methods.raters)),
        provenance=Provenance(),
    )
    body = render(data, "none").html.split("<main", 1)[1].split("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def rows_of(analysis: Analysis, *families: str) -> list[Any]:
    return [row for family in families for row in vars(analysis.contrasts)[family].rows]


def reasons(analysis: Analysis) -> set[str]:
    return {reason.split(":")[0] for row in analysis.flow for reason in row.unrated}


def trained_once(analysis: Analysis) -> bool:
    tuned = [arm.seeds for arm in analysis.arms if arm.factors["variant"] == "tuned"]
    return 1 in tuned


def trained_often(analysis: Analysis) -> bool:
    return any(arm.seeds > 1 for arm in analysis.arms)


def rated(analysis: Analysis) -> bool:
    return bool(analysis.counts.rated)


def hollow(analysis: Analysis) -> bool:
    headline = rows_of(analysis, "primary")
    return any(row.estimate is not None and row.low is None for row in headline)


def drawn(analysis: Analysis) -> bool:
    return any(row.estimate is not None for row in rows_of(analysis, "primary"))


def bounded(analysis: Analysis) -> bool:
    ends = [*analysis.policies.bounds, *analysis.policies.lee]
    return any(row.low is not None and row.low != row.high for row in ends)


def otherwise(analysis: Analysis) -> bool:
    """Whether another policy moves a primary contrast."""
    found = analysis.policies
    others = {"missing", "lowest", "unflagged", "heard"} - {found.headline}
    return any(
        row.estimate is None or abs(other.estimate - row.estimate) > 1e-9
        for name in others
        for row, other in zip(rows_of(analysis, "primary"), getattr(found, name), strict=True)
        if other.estimate is not None
    )


def replicates(analysis: Analysis) -> bool:
    return any(row.total.repeated for row in analysis.reliability.replicates)


def own_model(analysis: Analysis) -> bool:
    return rated(analysis) and analysis.judges.get(analysis.judge) == "model"


TRUE_WHERE: dict[str, Callable[[Analysis], bool]] = {
    "the result holds for these checkpoints": trained_once,
    "Training seeds are a random level below an arm": trained_often,
    "One training run of an arm: inference is to that checkpoint": lambda a: (
        trained_once(a) and bool(rows_of(a, "primary", "secondary"))
    ),
    "A hollow point has no interval; the table of primary contrasts": lambda a: (
        drawn(a) and hollow(a)
    ),
    "Open bars: bounds on the difference": lambda a: bounded(a) and (drawn(a) or otherwise(a)),
    "Circles: other ways to count sessions": otherwise,
    "Under lowest, a session that the chain lost": lambda a: any(
        row.filled for row in a.policies.lowest
    ),
    "lowest says what missing says": lambda a: (
        bool(a.policies.lowest) and not any(r.filled for r in a.policies.lowest)
    ),
    "Leaving out flagged sessions is a": lambda a: any(
        row.left_out for row in a.policies.unflagged
    ),
    "Therapist heard: as the headline": lambda a: any(row.left_out for row in a.policies.heard),
    "Rated without a word of the therapist": lambda a: any(
        row.left_out for row in a.policies.heard
    ),
    "Pooled: with the error term of all arms": lambda a: any(
        row.pooled for row in rows_of(a, "primary", "secondary")
    ),
    "REML: the same contrast from that model": lambda a: (
        bool(rows_of(a, "primary", "secondary")) and a.models.default.status == "fitted"
    ),
    "Its error term is the chain": lambda a: a.models.default.status == "fitted",
    "d and REML need the default model": lambda a: (
        bool(rows_of(a, "primary", "secondary")) and a.models.default.status != "fitted"
    ),
    "Hotelling's T squared": lambda a: any(row.hotelling for row in a.tests),
    "There is one arm.": lambda a: bool(a.arms) and not a.tests,
    "Lines that are not parallel are an interaction": lambda a: any(
        row.effect == "model x variant" for row in a.tests
    ),
    "Judge replicates are averaged": replicates,
    "Replicates of a judge are folded": replicates,
    "The first session has none before it": lambda a: any(
        len(row.points) > 1 for row in a.trajectory
    ),
    "An asterisk: false discovery rate": lambda a: any(
        (row.q or 1) < 0.05 for row in rows_of(a, "items")
    ),
    "An arm without a rated session has no outline": lambda a: (
        rated(a) and any(not row.rated for row in a.scores)
    ),
    "so the sign of variant is the reverse": lambda a: any(
        model and model.status == "fitted" and model.reference.get("variant") in ("tuned", "long")
        for model in (a.models.published, a.models.reduced)
    ),
    "Not reached: the chain ended before": lambda a: "not_reached" in reasons(a),
    "Rejected: the session failed": lambda a: "rejected" in reasons(a),
    "Owed: not run yet": lambda a: "owed" in reasons(a),
    "what was lost there, and why": lambda a: bool(reasons(a)),
    "Scheduled sessions without a rating": lambda a: bool(reasons(a) - {"owed"}),
    "see the flow and the policies": lambda a: (
        bool(reasons(a) - {"owed"}) and bool(rows_of(a, "primary"))
    ),
    "thresholds were declared in the study file": lambda a: a.robustness is not None,
    "Fewer than five judges are fixed": lambda a: bool(a.reliability.judges.pairs),
    "Least favourable to the first side": lambda a: bool(
        a.reliability.judges.worst_case and a.reliability.judges.worst_case.least_favourable
    ),
    "The other way: items rated one at a time": lambda a: bool(a.scale.halo.other),
    "Above one half (marked !)": lambda a: any(row.flagged for row in a.scale.ends),
    "needs 2 arms and 2 patients with rated sessions": lambda a: (a.power.reason or "").startswith(
        "needs 2 arms"
    ),
    "no two arms share two patients": lambda a: (a.power.reason or "").startswith("no two arms"),
    "The hollow point is this study's own design": lambda a: bool(a.power.next),
    "fewer than 10, so the result says little": lambda a: 0 < a.counts.patients < 10,
    "Uncalibrated judge: ": lambda a: own_model(a) and not a.reliability.humans.calibrated,
    "rated by another language model": lambda a: a.judges.get(a.judge) != "human",
    "rated by people": lambda a: a.judges.get(a.judge) == "human",
    "higher total from the judge with variant": lambda a: (
        a.judge == "judge" and bool(a.settings.contrasts)
    ),
    "Its claims are not recomputed: they were made on 593 ratings": lambda a: bool(
        a.claims and a.claims.reason
    ),
    "No contrast is asked.": lambda a: not a.settings.contrasts,
    "Each session was rated once": lambda a: rated(a) and not replicates(a),
    "No flag is recorded": lambda a: not any(row.flags for row in a.flags),
    "How the detectors of flags agree": lambda a: bool(a.detectors),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_sentence_is_on_the_page_where_it_is_true_and_nowhere_else(name: str) -> None:
    found, analysis = page(name), analysed(name)
    wrong = {
        sentence: true
        for sentence, where in TRUE_WHERE.items()
        if (true := bool(where(analysis))) != (sentence in found)
    }
    assert wrong == {}


def test_each_sentence_is_true_of_one_of_the_studies_and_not_of_another() -> None:
    for sentence, where in TRUE_WHERE.items():
        assert {bool(where(analysed(name))) for name in NAMES} == {True, False}, sentence


def test_two_by_three_is_not_said_to_need_two_by_two() -> None:
    assert analysed("2 x 3").power.reason is None
    assert "needs 2 arms" not in page("2 x 3")
    assert (
        analysed("one patient").power.reason
        == "needs 2 arms and 2 patients with rated sessions, found 2 and 1"
    )
    assert (
        analysed("one arm").power.reason
        == "needs 2 arms and 2 patients with rated sessions, found 1 and 3"
    )
    assert analysed("no overlap").power.reason == (
        "no two arms share two patients with rated sessions, so nothing says how differences vary "
        "between patients"
    )


def test_every_hollow_point_has_its_reason_in_the_table_that_the_caption_names() -> None:
    for name in NAMES:
        analysis = analysed(name)
        for policy in ("missing", "lowest", "unflagged", "heard"):
            for row in vars(analysis.policies)[policy]:
                assert row.low is not None or row.reason.rstrip(".") in page(name).replace(
                    "  ", " "
                ), (name, policy)


# ---- what is said of how the scores came about --------------------------------------------------

KNOWN = {
    "a table": Methods(scale="Rating Scale"),
    "an import": Methods(
        imported=["a clone"], raters=[RaterRow("published", "model", "m-2", 9, "", 8, 7)]
    ),
    "a clean import": Methods(
        imported=["a clone"], raters=[RaterRow("published", "model", "m-2", 9, "", 8, 0)]
    ),
    "a study": methods(),
}
SAID_OF_METHODS = {
    "Not known: a table of ratings holds scores": {"a table"},
    "how replies were drawn is not recorded": {"an import", "a clean import"},
    "7 of 8 rated sessions still held the summary of the session before": {"an import"},
    "a higher total on the": {"a table", "a study"},
    "Rated not recorded": {"a table", "an import", "a clean import"},
    "A session ends at": {"a study"},
    "Models, and how their replies were drawn": {"a study"},
    "Who rated, and what they read": {"an import", "a clean import", "a study"},
    "Items with scores of their own": {"a study"},
}


@pytest.mark.parametrize("name", KNOWN)
def test_of_methods_the_page_says_what_is_known(name: str) -> None:
    text = shown(analysed("2 x 3"), KNOWN[name])
    assert {sentence for sentence in SAID_OF_METHODS if sentence in text} == {
        sentence for sentence, where in SAID_OF_METHODS.items() if name in where
    }


# ---- what is said of a study before it has scores ------------------------------------------------

TUNED = [{"name": f"{model}-tuned", "model": model, "tuned": True} for model in ("first", "second")]
INSTRUCT = [{"name": f"{model}-instruct", "model": model} for model in ("first", "second")]
PLANNED: dict[str, dict[str, Any]] = {
    "instruct": {"arms": INSTRUCT},
    "one model": {"arms": [TUNED[0], INSTRUCT[0]]},
    "two tuned": {"arms": TUNED},
    "all, twice rated": {"arms": [*TUNED, *INSTRUCT], "judge": {"replicates": 2}},
    "not rated": {"arms": INSTRUCT, "judge": {"replicates": 0}, "analysis": {"judge": "ana"}},
}
SAID_OF: dict[str, set[str]] = {
    "How do sessions differ in their total": set(PLANNED),
    "- tuned - instruct (first-tuned - first-instruct)": {"one model"},
    "- tuned - instruct, within each model": {"all, twice rated"},
    "Secondary family": {"all, twice rated"},
    "second-tuned, trained with one seed": {"two tuned", "all, twice rated"},
    "Replicates are averaged": {"all, twice rated"},
    "by the judge `judge` on ctrs, blind": set(PLANNED) - {"not rated"},
    "Nothing about patients in general": set(PLANNED),
}


@pytest.mark.parametrize("name", PLANNED)
def test_the_analysis_plan_says_what_is_true_of_its_study(name: str, tmp_path: Path) -> None:
    planned = load_study(
        scripted.write_study(tmp_path, scripted.study_document(tmp_path / "store", **PLANNED[name]))
    )
    declared = Declaration("2026-03-02T08:00:00+00:00", "b" * 16, {})
    text = " ".join(document(planned, targets(planned, prompts_of(planned)), declared).split())
    assert {sentence for sentence in SAID_OF if sentence in text} == {
        sentence for sentence, where in SAID_OF.items() if name in where
    }
    lines: list[str] = []
    print_plan(planned, lambda line: lines.append(str(line)))
    trains = any(arm.tuned for arm in planned.arms)
    assert any("without training" in line for line in lines) == trains


@pytest.mark.parametrize(("name", "told"), [("Teresa Other", True), ("Alex Moreau", False)])
def test_a_first_name_in_training_and_simulation_is_a_notice(
    name: str, told: bool, tmp_path: Path
) -> None:
    bench = Bench(
        load_study(scripted.write_study(tmp_path, scripted.study_document(tmp_path / "store"))),
        Silent(),
    )
    unit = Unit(bench.keys.profile(1), {"name": name, "narrative": "Sleeps badly."}, made_from={})
    bench.store.put(unit)
    texts = [notice.text for notice in notices_of(bench, Reading(bench.keys, bench.store, Stage))]
    assert any("share first names (Teresa Lindqvist: p01)" in text for text in texts) == told
