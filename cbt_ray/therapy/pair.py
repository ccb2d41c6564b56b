"""Preference pairs of a generated session: to each of its contexts the answer that is chosen and
the one that is rejected.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from cbt_ray.errors import ModelFailure
from cbt_ray.llm.request import Finish, Message, Reply, Request
from cbt_ray.study.form import Form
from cbt_ray.therapy.answer import ask_until, read_text
from cbt_ray.therapy.dialogue import FilledRole
from cbt_ray.therapy.form import read_form, written
from cbt_ray.therapy.language import Transcript
from cbt_ray.therapy.session import Session, Speaker, therapist_messages
from cbt_ray.unit import seed_of


@dataclass(frozen=True)
class Choice:
    """A therapist's turn of a session, by its number from 0, and two answers in its place."""

    turn: int
    chosen: str
    rejected: str


def choices(
    session: Session,
    system: str,
    form: Form,
    chosen: FilledRole | None,
    rejected: FilledRole,
    words: Transcript,
    seed: int,
) -> tuple[list[Choice], dict[str, int]]:
    """The pairs of a session, and why how many of its turns have none: the patient has said nothing
    before it, the chosen answer misses the form, one of them is useless after all attempts, or both
    are alike.
    """
    found, left_out = list[Choice](), Counter[str]()
    for number, turn in enumerate(session.turns):
        if turn.speaker is not Speaker.THERAPIST:
            continue
        if number == 0:
            left_out["unasked"] += 1
            continue
        messages = therapist_messages(system, session.opening, session.turns[:number], words)
        try:
            own = written(form, turn.text, turn.hidden)
            good = own if chosen is None else _answer(chosen, messages, form, seed_of(seed, number))
            bad = _answer(rejected, messages, None, seed_of(seed, number, "rejected"))
        except ModelFailure as failure:
            left_out[failure.reason] += 1
            continue
        if good is None or good == bad:
            left_out["no_form" if good is None else "alike"] += 1
        else:
            found.append(Choice(number, good, bad))
    return found, dict(left_out)


def _answer(who: FilledRole, messages: list[Message], form: Form | None, seed: int) -> str:
    """What a model writes; one that is to be learned must keep its form and come to its end."""

    def read(reply: Reply) -> str:
        text = read_text(reply)
        if form is not None and reply.finish is Finish.LENGTH:
            raise ModelFailure("cut")
        missed = read_form(form, text).missed if form is not None else None
        if missed is not None:
            raise ModelFailure(missed)
        return text

    request = Request(tuple(messages), who.role.sampling, seed)
    return ask_until(who.ask, request, who.role.attempts, read).value
