"""Fit: what the blocks of a study demand of each other; each problem is `field: expected ...`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cbt_ray.count import many
from cbt_ray.study import factor, serving
from cbt_ray.study.block import twice
from cbt_ray.study.endpoint import (
    FINETUNED,
    LlamaCppEndpoint,
    Roles,
    ScriptedEndpoint,
    is_finetuned,
)
from cbt_ray.study.form import PLAIN, Form
from cbt_ray.study.lesson import rated_by_the_headline
from cbt_ray.study.model import Arm, Learns
from cbt_ray.study.protocol import EndToken
from cbt_ray.study.rater import Judge, People, Rulebook
from cbt_ray.study.recipe import pairs_of
from cbt_ray.study.scheduled import is_made, needs_courses, patient_slug, seeds_of

if TYPE_CHECKING:
    from cbt_ray.study.study import Study

MOST = 1_000_000
"""Sessions, or ratings, of a study: more could not be planned, let alone held."""


def unfit(study: Study) -> Iterator[str]:
    """All that is wrong with how the blocks fit together."""
    for check in (
        _names_once,
        _raters,
        _made_judges,
        _learners,
        _references,
        _of_pairs,
        _of_epochs,
        _of_searches,
        _needed,
        _named,
        _lists,
        _cases,
        _phases_cover,
        _disjoint,
        _attainable,
    ):
        yield from check(study)
    yield from factor.problems(study.arms, study.factors, study.analysis.contrasts)
    yield from serving.problems(study)


def _names_once(study: Study) -> Iterator[str]:
    for where, names in (
        ("arms", [arm.name for arm in study.arms]),
        ("patients.simulated", [patient.name for patient in study.simulated]),
        ("phases", [phase.name for phase in study.phases]),
    ):
        again = twice(names)
        if again is not None:
            yield f"{where}: expected each once, found {again!r} twice"
    named: dict[str, str] = {}
    for number, patient in enumerate(study.simulated):
        other = named.setdefault(patient_slug(patient), patient.name)
        if other != patient.name:
            yield (
                f"patients.simulated.{number}.name: expected another name, since keys hold "
                f"letters and digits only and {other!r} has the same"
            )


def _raters(study: Study) -> Iterator[str]:
    imported = study.imported.judges if study.imported else {}
    read: list[Judge | People] = [*study.judges.values(), *study.people.values()]
    scales = {scale for one in read for scale in one.scales}
    for name, rater in study.raters.items():
        if name in Roles.model_fields:
            yield f"raters.{name}: expected another name than that of a role"
        if name in imported and not isinstance(rater, People):
            yield f"raters.{name}: expected another name than that of an imported judge"
        if isinstance(rater, Rulebook) and name in scales:
            yield f"raters.{name}: expected another name than that of a scale"
        if isinstance(rater, Judge) and rater.probes.which and name != study.probed:
            yield (
                f"raters.{name}.probes.which: expected none, only {study.probed} is probed, "
                "which comes first or makes the headline"
            )
    named = study.rater_of(study.analysis.outcomes[0]) if study.analysis.outcomes else None
    if named and study.analysis.judge not in (None, named):
        yield f"analysis.judge: expected {named} or none, since analysis.outcomes.0 names it"
    if study.analysis.primary_outcomes > max(1, len(study.analysis.outcomes)):
        yield (
            f"analysis.primary_outcomes: expected at most {max(1, len(study.analysis.outcomes))}"
            f", the number of outcomes, found {study.analysis.primary_outcomes}"
        )


def _references(study: Study) -> Iterator[str]:
    for field, block in study.asked.items():
        role = field.rpartition(".")[2]
        yield from _endpoint_exists(study, f"{field}.endpoint", block.endpoint)
        endpoint = study.endpoints.get(block.endpoint)
        asks_made = isinstance(block, Judge) and block.model is not None
        if role != "therapist" and is_finetuned(endpoint) and not asks_made:
            yield (
                f"{field}.endpoint: expected a fixed model, `{FINETUNED}` is for therapists and "
                "for raters with a `model`"
            )
    for number, arm in enumerate(study.arms):
        yield from (f"arms.{number}.{problem}" for problem in _of_arm(study, arm))
        if arm.endpoint is not None:
            yield from _endpoint_exists(study, f"arms.{number}.endpoint", arm.endpoint)
    for name, model in study.models.items():
        if model.form is not None:
            yield from _form_exists(study, f"models.{name}.form", model.form)
            yield from _form_taught(study, f"models.{name}.form", model.form)
    if study.courses is not None and study.courses.form is not None:
        yield from _form_exists(study, "courses.form", study.courses.form)
        if study.courses.write == "parts":
            yield "courses.form: expected none with `write: parts`, only with `write: turns`"


def _made_judges(study: Study) -> Iterator[str]:
    """What is wrong with raters that the export makes."""
    known: dict[str, str] = {}
    for name, judge in study.judges.items():
        where, endpoint = f"raters.{name}", study.endpoints.get(judge.endpoint)
        if judge.model is None:
            continue
        if not judge.replicates:
            yield f"{where}.replicates: expected at least 1, since a model is made to rate"
        if not (isinstance(endpoint, LlamaCppEndpoint) and endpoint.gguf == FINETUNED):
            yield f"{where}.endpoint: expected one with `gguf: {FINETUNED}`, since it has a model"
        if judge.model not in study.models:
            expected = f"expected one of {sorted(study.models)}"
            yield f"{where}.model: unknown model {judge.model!r}, {expected}"
        elif judge.tuned:
            yield from _read_alike(study, where, judge, study.models[judge.model].learns)
            if (other := known.setdefault(judge.model, name)) != name:
                yield f"{where}.tuned: expected one rater that is {judge.model}, {other} is it"


def _read_alike(study: Study, where: str, judge: Judge, learns: Learns | None) -> Iterator[str]:
    """A judge is asked as people were, whose answers it learns."""
    if learns is None:
        yield f"{where}.tuned: expected a model that learns from ratings (models.{judge.model})"
        return
    people = study.people.get(learns.ratings)
    for field in ("scales", "views") if people is not None else ():
        expected = list(getattr(people, field))
        if list(getattr(judge, field)) != expected:
            yield f"{where}.{field}: expected {expected}, as raters.{learns.ratings} has it"


def _learners(study: Study) -> Iterator[str]:
    """What is wrong with models that learn to judge."""
    for name, model in study.models.items():
        if model.learns is None:
            continue
        where, why = f"models.{name}", "since it learns from ratings"
        if model.learns.ratings not in study.people:
            expected = f"expected one of the raters that are people, {sorted(study.people)}"
            yield f"{where}.learns.ratings: {expected}, found {model.learns.ratings}"
        if model.seeds != 1:
            yield f"{where}.seeds: expected 1, {why}, found {model.seeds}"
        if model.form is not None:
            yield f"{where}.form: expected none, {why}"
        if model.recipe.method != "sft":
            yield f"{where}.recipe.method: expected sft, {why}"
        for number, arm in enumerate(study.arms):
            if arm.tuned and arm.model == name:
                yield f"arms.{number}.model: expected one that learns from courses, not {name}"


def _of_arm(study: Study, arm: Arm) -> Iterator[str]:
    """What is wrong with an arm's therapist."""
    if arm.model is not None and arm.model not in study.models:
        yield f"model: unknown model {arm.model!r}, expected one of {sorted(study.models)}"
    if arm.model is None and arm.tuned:
        yield "model: expected the one under `models` that is tuned"
    elif arm.model is None and is_made(study, arm):
        yield f"model: expected one under `models`, of which the `{FINETUNED}` model is made"
    if arm.form is not None and arm.tuned:
        yield f"form: expected none, since models.{arm.model}.form is how it was trained"
    if arm.form is not None:
        yield from _form_exists(study, "form", arm.form)
    endpoint = study.endpoints.get(study.therapist(arm).endpoint)
    fixed = not (is_made(study, arm) or isinstance(endpoint, ScriptedEndpoint | None))
    if len(seeds_of(study, arm)) > 1 and fixed:
        yield (
            f"endpoint: expected one that is `{FINETUNED}`, since a server's model is one "
            f"checkpoint and models.{arm.model}.seeds is {len(seeds_of(study, arm))}"
        )


def _needed(study: Study) -> Iterator[str]:
    """What an arm needs and the file lacks."""
    if study.sessions.count > 1 and study.roles.summariser is None:
        yield "roles.summariser: expected one, since a session follows another"
    if study.sessions.patient_speaks and study.roles.patient is None:
        yield "roles.patient: expected one, since a patient says more than a first message"
    if not study.simulated:
        yield (
            "patients.simulated: expected at least 1 patient, or `drawn`, or training patients of "
            "whom `dataset.test` leaves some"
        )
    if not needs_courses(study):
        return
    found = {
        "patients.training": study.patients.training,
        "courses": study.courses,
        "roles.generator": study.roles.generator,
        **({} if study.sessions.opener == "case" else {"phases": study.phases or None}),
    }
    tuned = next((arm.name for arm in study.arms if arm.tuned), None)
    held = "sessions are held with their patients" if study.tested else "courses were imported"
    why = f"since {tuned} is tuned on courses" if tuned else f"since {held}"
    for field, value in found.items():
        if value is None:
            yield f"{field}: expected one, {why}"


def _named(study: Study) -> Iterator[str]:
    training = study.patients.training
    if training is not None and training.profile is not None and training.most_alike is not None:
        yield "patients.training.most_alike: expected none with `profile`, which asks no generator"
    if training is not None and training.profile is not None and study.name_of(1) is None:
        yield (
            "patients.training.names: expected a name for each patient, since `profile` asks no "
            "generator"
        )


def _lists(study: Study) -> Iterator[str]:
    """What rules ask of the lists of replies."""
    forms = [study.form_of(arm) for arm in study.arms if _form_known(study, arm)]
    yield from _labels_once(study)
    for name, book in study.rulebooks.items():
        for rule, block in book.rules.items():
            if block.field is None:
                continue
            where = f"raters.{name}.rules.{rule}"
            found = [one for form in forms if (one := form.field(block.field)) is not None]
            if not found:
                yield f"{where}.field: expected a list's field in the form of an arm, part.field"
            elif block.labels and _courses_form(study).field(block.field) is None:
                yield f"{where}.field: expected courses in a form that has it (`courses.form`)"
            elif block.labels and not any(one.one_of for one in found):
                yield f"{where}.field: expected a field with `one_of`, whose values are labels"
            if block.labels and not study.tested:
                yield (
                    f"{where}.labels: expected sessions with the patients of `dataset.test`, of "
                    "whom the generator gave labels"
                )


def _labels_once(study: Study) -> Iterator[str]:
    """Labels are those of one field, in replies to cases that all arms and the generator answer."""
    asked = {
        f"raters.{name}.rules.{rule}": block.field
        for name, book in study.rulebooks.items()
        for rule, block in book.rules.items()
        if block.labels is not None and block.field is not None
    }
    if not asked:
        return
    first, field = next(iter(asked.items()))
    for where, other in asked.items():
        if other != field:
            yield f"{where}.field: expected {field}, as {first} has it"
    if study.sessions.opener != "case" or study.sessions.patient_speaks:
        yield (
            f"{first}.labels: expected single replies, `opener: case` and `max_messages: 2` of "
            "sessions"
        )
    known = _courses_form(study).field(field)
    for number, arm in enumerate(study.arms):
        own = study.form_of(arm).field(field) if _form_known(study, arm) else known
        if known is not None and (own is None or list(own.one_of) != list(known.one_of)):
            yield f"arms.{number}.form: expected {field} with the labels of courses.form ({first})"


def _courses_form(study: Study) -> Form:
    return study.forms.get(study.courses.form or "", PLAIN) if study.courses else PLAIN


def _form_known(study: Study, arm: Arm) -> bool:
    name = study.form_name(arm)
    return name is None or name in study.forms


def _cases(study: Study) -> Iterator[str]:
    """What a study asks of cases that a single first message cannot give."""
    if study.sessions.opener != "case":
        return
    why = "since the first message is the case (`sessions.opener`)"
    if study.sessions.count > 1:
        yield f"sessions.count: expected 1, {why}, found {study.sessions.count}"
    if study.courses is not None and study.courses.sessions > 1:
        yield f"courses.sessions: expected 1, {why}, found {study.courses.sessions}"
    if study.courses is not None and study.courses.write != "turns":
        yield f"courses.write: expected turns, {why}"
    sides = 1 + bool(study.dataset.held_out) + bool(study.dataset.test)
    personas = len(set(study.split.personas.values()))
    if personas and personas < sides and study.dataset.format != "paper":
        yield (
            f"patients.training.characteristics: expected at least {many(sides, 'persona')}, one "
            f"for each side of the split, found {personas}"
        )


def _of_epochs(study: Study) -> Iterator[str]:
    """The best epoch is that of the lowest loss on text that was not trained on."""
    unseen = study.dataset.held_out or study.dataset.test
    for name, model in study.models.items():
        if model.recipe.keep == "best" and model.learns is None and not unseen:
            yield (
                f"models.{name}.recipe.keep: expected last, or dataset.held_out or dataset.test "
                "above 0, whose loss tells which epoch is best"
            )


def _of_searches(study: Study) -> Iterator[str]:
    """A search chooses by text that nothing else is judged by."""
    for name, model in study.models.items():
        where = f"models.{name}.recipe.search"
        if model.recipe.search is None:
            continue
        if model.learns is not None:
            yield (
                f"{where}: expected none, since what learns from ratings is compared with "
                "people on those that are held out"
            )
        elif not study.dataset.held_out:
            yield (
                f"{where}: expected dataset.held_out above 0, whose loss tells which candidate is "
                "best"
            )


def _endpoint_exists(study: Study, where: str, name: str) -> Iterator[str]:
    if name not in study.endpoints:
        yield f"{where}: unknown endpoint {name!r}, expected one of {sorted(study.endpoints)}"


def _form_exists(study: Study, where: str, name: str) -> Iterator[str]:
    if name not in study.forms:
        yield f"{where}: unknown form {name!r}, expected one of {sorted(study.forms)}"


def _of_pairs(study: Study) -> Iterator[str]:
    for name, pairs in study.pairs.items():
        if pairs.form is not None:
            yield from _form_exists(study, f"pairs.{name}.form", pairs.form)
    for name, model in study.models.items():
        made = pairs_of(model.recipe)
        if made is None:
            continue
        where = f"models.{name}.recipe.preferences"
        if made not in study.pairs:
            yield f"{where}: unknown pairs {made!r}, expected one of {sorted(study.pairs)}"
        elif study.pairs[made].form != model.form:
            yield f"{where}: expected pairs in the form of models.{name}, {model.form}"


def _form_taught(study: Study, where: str, name: str) -> Iterator[str]:
    form = study.forms.get(name)
    if form and study.dataset.format != "turn":
        if any(not part.shown for part in form.parts):
            yield (
                f"{where}: expected `dataset.format: turn`, since {name} has hidden parts, which "
                "are learned as they are written and in no later turn's history"
            )
        elif form.written == "json":
            yield f"{where}: expected `dataset.format: turn`, since {name} is written as JSON"
    if (
        form
        and form.written == "json"
        and any(isinstance(rule, EndToken) for rule in study.sessions.stop)
    ):
        yield f"{where}: expected `sessions.stop` without end_token, since {name} is JSON"
    if form and form.written == "json" and study.courses and study.courses.form != name:
        yield f"{where}: expected courses in the same form (`courses.form`), since it is JSON"
    hidden = {part.name for part in form.parts if not part.shown} if form else set()
    courses = _courses_form(study)
    lacking = hidden - {part.name for part in courses.parts if not part.shown}
    if lacking and not (study.imported and study.imported.courses):
        yield (
            f"{where}: expected courses with the hidden parts of {name} (`courses.form`), "
            f"{', '.join(sorted(lacking))} would be in none"
        )


def _phases_cover(study: Study) -> Iterator[str]:
    if not study.phases:
        return
    expected = 1
    for number, phase in enumerate(study.phases):
        if phase.sessions[0] != expected:
            yield (
                f"phases.{number}.sessions: expected to begin at session {expected}, found "
                f"{phase.sessions[0]}"
            )
        expected = phase.sessions[1] + 1
    written = study.courses.sessions if study.courses else 0
    last = max(written, study.sessions.count)
    if expected <= last:
        yield f"phases: expected to cover sessions 1 to {last}, found 1 to {expected - 1}"


def _disjoint(study: Study) -> Iterator[str]:
    names = study.patients.training.names if study.patients.training else ()
    training = {name.casefold().split()[0] for name in names}
    for number, patient in enumerate(study.patients.simulated):
        if patient.name.casefold().split()[0] in training:
            yield (
                f"patients.simulated.{number}.name: {patient.name!r} is a training patient, "
                "expected patients that no model was trained on"
            )


def _attainable(study: Study) -> Iterator[str]:
    chains = len(study.simulated) * study.sessions.replicates
    held = [len(seeds_of(study, arm)) * chains * study.sessions.count for arm in study.arms]
    patients, rated = len(study.simulated), rated_by_the_headline(study)
    most = min(held) * rated // patients if patients else 0
    if study.minimum.ratings > most:
        yield (
            f"minimum.ratings: expected at most the {many(most, 'session')} of an arm that are "
            f"rated, found {study.minimum.ratings}"
        )
    training, sessions = study.patients.training, sum(held)
    written = training.count * study.courses.sessions if training and study.courses else 0
    for where, what, number in (
        ("patients.training.count", "course sessions", written),
        ("sessions.count", "sessions of all arms", sessions),
        (
            "raters",
            "ratings",
            sessions * sum(len(one.views) * one.replicates for one in study.judges.values()),
        ),
    ):
        if number > MOST:
            yield f"{where}: expected at most {MOST:,} {what}, found {number:,}"
