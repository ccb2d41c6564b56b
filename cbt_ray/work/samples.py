"""Sample values of every prompt, so that each can be filled in before anything is paid for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts
from cbt_ray.rating.measure import Measure
from cbt_ray.rating.scale import Item, Scale, Step
from cbt_ray.study import Study
from cbt_ray.study.form import PLAIN
from cbt_ray.study.protocol import Courses
from cbt_ray.study.scheduled import needs_courses
from cbt_ray.therapy.course import shown
from cbt_ray.therapy.language import Language
from cbt_ray.therapy.stop import end_mark

NAME = "Alex Moreau"
TEXT = "They slept badly, went for two walks and talked about a thought that came back."
STEPS = (Step(1, "Poor", "bad"), Step(2, "Good", "good"))
SCALE = Scale(
    "sample",
    "Sample",
    "Judge.",
    "psychotherapy",
    (Item("one", "One", "How?", "words", STEPS),),
    (Measure("total", "Total", "sum", (("one",),)),),
    "words",
    STEPS,
)
"""In place of a scale that cannot be read."""


class Sample(NamedTuple):
    """A prompt with values as it gets them (None: nobody asks for it), and the field of the study
    file that names it.
    """

    prompt: str
    field: str
    values: Mapping[str, Any] | None


def samples(
    study: Study,
    language: Language,
    scales: Sequence[Scale | None],
    kinds: Mapping[str, str],
) -> Iterator[Sample]:
    """Every prompt of every role and arm, each with values of all the forms that it gets."""
    yield from _of_generator(study, language)
    yield from _of_therapists(study, language)
    yield from _of_sessions(study)
    for scale in scales:
        yield from _of_judge(scale or SCALE, kinds)


def _of_generator(study: Study, language: Language) -> Iterator[Sample]:
    training, courses = study.patients.training, study.courses
    if training is None or courses is None or not needs_courses(study):
        return  # nothing is trained on
    levels = training.draw("", 0, 1) or {}
    if training.profile is not None:
        given = {"name": NAME, "characteristics": levels}
        yield Sample(training.profile, "patients.training.profile", given)
    else:
        yield Sample("profile.j2", "prompts", {})
        for name in (NAME, None):
            yield Sample("profile_request.j2", "prompts", {"name": name, "characteristics": levels})
    if courses.write == "turns":
        yield from _of_turns(study, courses)
    else:
        yield from _of_parts(study, courses, language)


def _of_turns(study: Study, courses: Courses) -> Iterator[Sample]:
    form = study.forms.get(courses.form or "", PLAIN)
    for session, opening in ((1, ""), (courses.sessions, TEXT)):
        about = {
            **{"patient": NAME, "narrative": TEXT, "opening": opening, "session": session},
            **{"sessions": courses.sessions, "phase": study.phase_of(session)},
            **{"turn_chars": courses.turn_chars, "parts": form.parts},
        }
        yield Sample("write_therapist.j2", "prompts", about)
        yield Sample("write_patient.j2", "prompts", about)
    yield Sample("write_begin.j2", "prompts", {})
    yield Sample("revise.j2", "prompts", {"feedback": TEXT})
    for speaker in ("patient", "therapist"):
        told = {"speaker": speaker, "patient": NAME}
        yield Sample("critic.j2", "prompts", {**told, "narrative": TEXT})
        for text in ("", TEXT):
            shown = {"transcript": text, "turn": TEXT, "hidden": [{"name": "a", "text": TEXT}]}
            yield Sample("critic_request.j2", "prompts", {**told, **shown})


def _of_parts(study: Study, courses: Courses, language: Language) -> Iterator[Sample]:
    yield Sample("course.j2", "prompts", {"patient": NAME, "narrative": TEXT})
    last = courses.sessions
    for session, opening, phase in (
        (1, "", study.phase_of(1)),
        (last, TEXT, study.phase_of(last)),
    ):
        parts = language.course.parts
        for number, asked in enumerate(parts, 1):
            part = shown(asked, number, session)
            brief = {
                "patient": NAME,
                "session": session,
                "sessions": last,
                "phase": phase,
                "opening": opening,
            }
            yield Sample(
                "course_part.j2",
                "prompts",
                {
                    **{"part": part, "parts": len(parts), **brief},
                    **{"pairs": courses.pairs, "turn_chars": courses.turn_chars},
                },
            )


def _of_therapists(study: Study, language: Language) -> Iterator[Sample]:
    asked = [(PLAIN, "prompts")]
    asked += [(form, f"forms.{name}.prompt") for name, form in study.forms.items()]
    asked += [
        (study.form_of(arm), f"arms.{number}.prompt")
        for number, arm in enumerate(study.arms)
        if arm.prompt is not None
    ]
    for form, field in asked:
        for session in dict.fromkeys((1, study.sessions.count)):
            case = {
                "patient": NAME,
                "session": session,
                "sessions": study.sessions.count,
                "phase": study.phase_of(session),
                "parts": form.parts,
            }
            mark = end_mark(language.sessions(study.sessions))
            yield Sample(form.prompt, field, {**case, "end_token": mark})


def _of_sessions(study: Study) -> Iterator[Sample]:
    profile = next((one.profile for one in study.simulated if one.profile), TEXT)
    for session, opening in ((1, ""), (study.sessions.count, TEXT)):
        yield Sample("patient_first.j2", "prompts", {"patient": NAME, "session": session})
        yield Sample(
            "patient.j2", "prompts", {"patient": NAME, "profile": profile, "opening": opening}
        )
    yield Sample("patient_begin.j2", "prompts", {})
    yield Sample("summariser.j2", "prompts", {})
    yield Sample(
        "summariser_request.j2", "prompts", {"session": 1, "patient": NAME, "transcript": TEXT}
    )


def _of_judge(scale: Scale, kinds: Mapping[str, str]) -> Iterator[Sample]:
    yield Sample("judge.j2", "prompts", {"scale": scale})
    for items in (list(scale.items), [scale.items[0]]):
        yield Sample("judge_request.j2", "prompts", {"transcript": TEXT, "items": items})
    asked = {"kinds": [*zip("AB", kinds.values(), strict=False)], "expertise": scale.expertise}
    yield Sample("judge_guess.j2", "prompts", asked)
    yield Sample("judge_guess_request.j2", "prompts", {"transcript": TEXT})


def fault_of(prompts: Prompts, sample: Sample) -> list[str]:
    """What is wrong with a prompt that is filled in with these values."""
    try:
        if sample.values is None:
            prompts.parse(sample.prompt)
        else:
            prompts.render(sample.prompt, **sample.values)
    except InputError as error:
        return list(error.problems)
    return []
