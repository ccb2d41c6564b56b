"""Learned: a course's session as models are trained on it, in the dataset and in pairs alike."""

from __future__ import annotations

from dataclasses import replace

from cbt_ray.prompts import Prompts
from cbt_ray.study import Study
from cbt_ray.study.form import Form
from cbt_ray.therapy.dialogue import therapist_system
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.session import Session, Speaker, Turn
from cbt_ray.therapy.stop import end_mark


def system_of(study: Study, prompts: Prompts, session: Session, form: Form) -> str:
    """The therapist's system prompt in a course's session, as training and pairs have it."""
    mark = end_mark(load_language(prompts).sessions(study.sessions))
    return therapist_system(
        *(prompts, form, session.patient, session.number, study.writing.courses.sessions),
        *(study.phase_of(session.number), mark),
    )


def closed(session: Session, mark: str) -> Session:
    """The session with the end token after its last therapist turn, as the therapist's prompt
    asks: tuning teaches to end.
    """
    if not mark or not session.turns or session.turns[-1].speaker is not Speaker.THERAPIST:
        return session
    last = replace(session.turns[-1], text=f"{session.turns[-1].text} {mark}")
    return replace(session, turns=(*session.turns[:-1], last))


def joined(session: Session) -> Session:
    """The session with turns that one speaker has in a row as one, since chat templates take turns
    in alternation only.

    None of our own sessions has them; imported ones do, where the parts of a course meet.
    """
    turns: list[Turn] = []
    for turn in session.turns:
        if turns and turns[-1].speaker is turn.speaker:
            turns[-1] = replace(turn, text=f"{turns[-1].text}\n\n{turn.text}")
        else:
            turns.append(turn)
    return replace(session, turns=tuple(turns))
