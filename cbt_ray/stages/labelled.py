"""Labelled: what the replies of all scheduled sessions named, beside the labels that the generator
gave to the same cases.
"""

from __future__ import annotations

from collections.abc import Iterator

from cbt_ray.analysis.label.labelled import Labelled
from cbt_ray.imports.rows import Scheduled, scheduled
from cbt_ray.rating.rule import NOBODY, named
from cbt_ray.stages.held import Held
from cbt_ray.stages.scores import why_not_held
from cbt_ray.study import Study
from cbt_ray.study.split import profile_id
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.work.bench import Bench
from cbt_ray.work.survey import Survey

NONE_NAMED = "none_named"
SILENT = "no_reply"


def labelled(bench: Bench, survey: Survey, held: Held) -> Iterator[Labelled]:
    """One row a scheduled session whose case the generator has labelled; none where no rule asks
    for labels.
    """
    field = bench.study.label_field
    if field is None:
        return
    for place in scheduled(bench, survey):
        reference = held.references.get(place.entry.key, NOBODY).get(field)
        if reference is not None:
            yield _row(bench, held, place, field, reference)


def _row(
    bench: Bench, held: Held, place: Scheduled, field: str, reference: frozenset[str]
) -> Labelled:
    key = place.entry.key
    number = bench.keys.written_as(place.patient)
    session = held.sessions[key][0] if key in held.sessions else None
    given = named(session, field) if session else frozenset[str]()
    return Labelled(
        session=str(key),
        arm=place.arm.name,
        factors=bench.keys.factors[place.arm.name],
        patient=bench.study.simulated[place.patient - 1].name,
        persona=bench.study.split.personas[profile_id(number or 0)],
        seed=place.seed,
        replicate=place.replicate,
        named=given,
        reference=reference,
        reason=None
        if given
        else why_not_held(place.entry) or held.lost.get(key) or _why_none(session),
    )


def _why_none(session: Session | None) -> str:
    """How the reply missed its form, that there is none, or that it named nothing."""
    turns = session.turns_of(Speaker.THERAPIST) if session else []
    return next((turn.missed for turn in turns if turn.missed), NONE_NAMED if turns else SILENT)


def ceiling(study: Study) -> str | None:
    """The arm that is the generator itself: its model as it is, asked as the courses' form asks."""
    generator, form = study.roles.generator, study.courses.form if study.courses else None
    return next(
        (
            arm.name
            for arm in study.arms
            if generator is not None
            and arm.model is None
            and study.therapist(arm).endpoint == generator.endpoint
            and arm.form == form
            and arm.prompt in (None, study.form_named(form).prompt)
        ),
        None,
    )


def known_labels(study: Study) -> list[str]:
    """Every label that a form knows, in its order."""
    path = study.label_field
    fields = [form.field(path) for form in study.forms.values()] if path else []
    return list(dict.fromkeys(label for field in fields if field for label in field.one_of))
