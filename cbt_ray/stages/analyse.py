"""Analyse: the scores table of all scheduled sessions, and the statistics on it.

One unit, made in this process.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING

from cbt_ray.analysis.declared import Standing, standing
from cbt_ray.analysis.document import from_json, to_json
from cbt_ray.analysis.notice import by_weight
from cbt_ray.errors import BelowMinimum
from cbt_ray.prompts import Prompts
from cbt_ray.stages.claims import claims_of
from cbt_ray.stages.held import Held
from cbt_ray.stages.labelled import ceiling, known_labels, labelled
from cbt_ray.stages.probe import probe_rows
from cbt_ray.stages.scores import by_persona, score_rows
from cbt_ray.study import Study
from cbt_ray.study.confound import confounds
from cbt_ray.study.lesson import learners, split_of
from cbt_ray.study.scheduled import patient_slug
from cbt_ray.therapy.flags import NAMES
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.replay import rules_of, stop_table
from cbt_ray.therapy.validation import detectors, foreign
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench, must_be_done
from cbt_ray.work.declared import declaration_of, declarations, first_rating, hash_of
from cbt_ray.work.outcome import Target, first_measure, prefix_of, targets
from cbt_ray.work.people import must_be_rated

if TYPE_CHECKING:
    from cbt_ray.analysis import Analysis, ScoreRow, Settings
    from cbt_ray.analysis.settings import Learned, Outcome

LIBRARIES = ("numpy", "scipy", "pandas", "statsmodels")


def analyse_scores(bench: Bench) -> None:
    """Make the analysis, unless it is there.

    Raises Owed where ratings are owed, PeopleAwaited where people owe them, BelowMinimum where an
    arm has too few.
    """
    survey = bench.renewed(Stage.SESSIONS, Stage.RATINGS, Stage.ANALYSIS)
    must_be_done(bench, survey, Stage.RATINGS, Stage.ANALYSIS)
    must_be_rated(survey)
    key = bench.keys.analysis()

    def made() -> Unit:
        from cbt_ray.analysis import Beside, Scores, analyse
        from cbt_ray.analysis.judge.robustness import robustness
        from cbt_ray.analysis.label.labels import labels
        from cbt_ray.analysis.scale.scale import rated_apart

        held = Held(bench, survey)
        rows, probes = score_rows(bench, survey, held), probe_rows(bench, survey)
        settings = settings_of(bench.study, bench.prompts, rows)
        scores = Scores.of(by_persona(bench.study, rows))
        language = load_language(bench.prompts)
        rules = language.rules(bench.study.thresholds)
        unlike = foreign(held.by_arm(), language)
        beside = Beside(
            robustness=robustness(probes, scores.readers(), settings, bench.study.judge)
            if bench.study.judges
            else None,
            detectors=detectors(rules, NAMES, held.fired.values(), unlike),
            confounds=confounds(bench.study),
            labels=labels(
                list(labelled(bench, survey, held)),
                settings,
                ceiling(bench.study),
                known_labels(bench.study),
            ),
            stop_rules=stop_table(held.by_arm(), rules_of(bench.study.sessions, language)),
        )
        result = analyse(scores, settings, beside=beside, apart=rated_apart(probes))
        result = replace(result, claims=claims_of(bench.study.imported, rows))
        content = {
            "rows": [row.to_json() for row in rows],
            "probes": to_json(probes),
            "analysis": to_json(result),
        }
        return Unit(key, content, provenance={"versions": versions()}, made_from=survey.record(key))

    bench.once(survey, key, made)


def versions() -> dict[str, str]:
    """Versions of what an analysis rests on."""
    return {
        "cbt-ray": version("cbt-ray"),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def analysis_of(
    bench: Bench, unit: Unit, read: Mapping[Key, Unit] = MappingProxyType({})
) -> Analysis:
    """The unit's analysis, and how it stands to what was declared, as the store knows it now.

    The latter is no part of the unit: what was when differs between equal studies. `read`: units
    that were read already.
    """
    from cbt_ray.analysis import Analysis

    result = from_json(Analysis, unit.content["analysis"])
    section = declared(bench, read)
    notices = by_weight([*result.notices, *section.notices])
    return replace(result, declared=section, notices=notices)


def declared(bench: Bench, read: Mapping[Key, Unit]) -> Standing:
    """Whether the analysis was declared before the first rating."""
    content = declaration_of(bench.study)
    first = first_rating(bench.store, bench.study, read)
    imported = bench.study.headline_judge not in bench.study.raters
    return standing(
        declarations(bench.store, bench.study), hash_of(content), content, first, imported=imported
    )


def require_ratings(bench: Bench) -> None:
    """Raise BelowMinimum where an arm has fewer sessions with a total than the study file's
    `minimum.ratings`.
    """
    unit = bench.store.get(bench.keys.analysis())
    view, judge = bench.study.views[0], bench.study.headline_judge
    rows = (
        [row for row in unit.content["rows"] if (row["view"], row["judge"]) == (view, judge)]
        if unit
        else []
    )
    rows = [row for row in rows if row["total"] is not None]
    rated = Counter(arm for arm, _ in {(row["arm"], row["session_key"]) for row in rows})
    minimum = bench.study.minimum.ratings
    short = [
        f"{arm.name} has {rated[arm.name]}" for arm in bench.study.arms if rated[arm.name] < minimum
    ]
    if short:
        raise BelowMinimum(
            f"{bench.study.file}: minimum.ratings: expected at least {minimum} in each arm, "
            f"{', '.join(short)}"
        )


def settings_of(study: Study, prompts: Prompts, rows: Sequence[ScoreRow] = ()) -> Settings:
    """The analysis block as the analysis takes it.

    `rows`: what was scored; items that are counts have no highest score but what was given.
    """
    from cbt_ray.analysis import Settings
    from cbt_ray.analysis.settings import ItemKind

    found = targets(study, prompts)
    head = found[0]
    named = [head.prefix + item.id for item in head.items if not item.steps]
    given = [row.items.get(name) for row in rows for name in named]
    scores = [step.score for item in head.items for step in item.steps]
    scores += [0, *(int(score) for score in given if score is not None)] if named else []
    return Settings(
        level=study.analysis.level,
        unrated=study.analysis.unrated,
        judge=study.headline_judge,
        probed=study.probed or "",
        thorough=study.analysis.thorough,
        view=study.views[0],
        items=tuple(head.prefix + item.id for item in head.items),
        titles={head.prefix + item.id: item.title for item in head.items},
        lowest=min(scores, default=0),
        highest=max([*scores, min(scores, default=0) + 1]),
        total=(head.low, head.high),
        kind=head.kind,
        item_kinds={
            head.prefix + item.id: ItemKind(item.measured, *item.ends)
            for item in head.items
            if item.measured != "score"
        },
        outcomes=tuple(_outcome(study, number, one) for number, one in enumerate(found)),
        arms=tuple(arm.name for arm in study.arms),
        contrasts=study.contrasts,
        trained=tuple(arm.name for arm in study.arms if arm.tuned),
        learned=tuple(_learned(study, prompts, model) for model in learners(study)),
    )


def _learned(study: Study, prompts: Prompts, model: str) -> Learned:
    """A model that learns to judge, in the outcomes that it is the rater of, else its first
    measure.
    """
    from cbt_ray.analysis.settings import Learned

    learns, split = study.models[model].learns, split_of(study, model)
    judge = learners(study)[model]
    raters = {name: one.tuned for name, one in study.judges.items() if one.model == model}
    own = next(name for name, tuned in raters.items() if tuned)
    first, prefix = first_measure(study, prompts, own), prefix_of(study, own)
    named = [one.name for one in targets(study, prompts) if one.rater == own]
    patients = {patient_slug(one): one.name for one in study.simulated}
    return Learned(
        model=model,
        people=learns.ratings if learns else "",
        raters=raters,
        measures=tuple(named or [first.name]),
        view=judge.views[0],
        items=tuple(prefix + item.id for item in (first.scale.items if first.scale else ())),
        learned_from=len(split.train),
        held_out=tuple(patients[slug] for slug in sorted(split.held_out)),
    )


def _outcome(study: Study, number: int, one: Target) -> Outcome:
    from cbt_ray.analysis.settings import Outcome

    primary = number < study.analysis.primary_outcomes
    return Outcome(one.rater, one.name, one.title, one.low, one.high, one.kind, primary)
