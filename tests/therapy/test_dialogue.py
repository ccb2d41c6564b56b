"""A simulated session held by scripted models."""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.errors import Infrastructure, ModelFailure
from cbt_ray.prompts import Prompts
from cbt_ray.study.endpoint import Role
from cbt_ray.study.form import PLAIN
from cbt_ray.study.protocol import Sessions
from cbt_ray.therapy.dialogue import Case, Dialogue, FilledRole, hold
from cbt_ray.therapy.session import Speaker
from cbt_ray.therapy.stop import StopReason
from tests.study.example import loaded
from tests.therapy.scripts import REFUSED, Script, as_json, cut

STUDY = loaded()
MARK = "[END OF SESSION]"
SUMMARY = "They looked at sleep and agreed on a short walk."
FIRST = "Hi, I'm Teresa Lindqvist. I'm back for session 2."


def rules(**changes: Any) -> Sessions:
    return Sessions(
        **{"count": 2, "min_therapist_turns": 1, "max_messages": 8, "summary_chars": (10, 60)}
        | changes
    )


class Cast:
    """The three models of a session, and the session that they hold."""

    def __init__(self, therapist: Any = None, patient: Any = None, summariser: Any = None) -> None:
        self.therapist = Script(therapist or [f"What happened in turn {n}?" for n in range(9)])
        self.patient = Script(patient or [f"I stayed in bed in turn {n}." for n in range(9)])
        self.summariser = Script(summariser or [as_json({"summary": SUMMARY})])

    def hold(self, opening: str = "", seed: int = 5, **changes: Any) -> Dialogue:
        role = Role(endpoint="script", attempts=3)
        case = Case(STUDY.patients.simulated[0], 2, 3, STUDY.phase_of(2), opening, seed)
        voices = (
            FilledRole(role, self.therapist),
            FilledRole(role, self.patient),
            FilledRole(role, self.summariser),
        )
        return hold(case, rules(**changes), Prompts(), PLAIN, *voices)


def texts(held: Dialogue) -> list[str]:
    return [turn.text for turn in held.session.turns]


def test_speakers_alternate_until_the_end_mark_which_is_taken_out() -> None:
    held = Cast(
        therapist=["What happened?", f"See you next week. {MARK}"], patient=["I stayed in bed."]
    ).hold()
    assert texts(held) == [FIRST, "What happened?", "I stayed in bed.", "See you next week."]
    assert [turn.speaker for turn in held.session.turns] == [Speaker.PATIENT, Speaker.THERAPIST] * 2
    assert (held.stop, held.cut, held.session.summary) == (StopReason.END_TOKEN, 0, SUMMARY)
    assert (held.session.patient, held.session.number, held.session.phase) == (
        "Teresa Lindqvist",
        2,
        "middle",
    )


def test_end_mark_before_the_minimum_is_taken_out_and_the_session_goes_on() -> None:
    held = Cast(therapist=[f"Hello. {MARK}", f"Bye. {MARK}"]).hold(min_therapist_turns=2)
    assert texts(held)[1::2] == ["Hello.", "Bye."]
    assert held.stop is StopReason.END_TOKEN


def test_end_mark_alone_ends_without_an_empty_turn() -> None:
    held = Cast(therapist=["What happened?", MARK]).hold()
    assert held.stop is StopReason.END_TOKEN
    assert texts(held)[1:] == ["What happened?", "I stayed in bed in turn 0."]


@pytest.mark.parametrize(("most", "last"), [(4, Speaker.THERAPIST), (5, Speaker.PATIENT)])
def test_messages_are_counted_for_both_speakers(most: int, last: Speaker) -> None:
    held = Cast().hold(max_messages=most)
    assert (held.stop, len(held.session.turns), held.session.turns[-1].speaker) == (
        StopReason.MAX_MESSAGES,
        most,
        last,
    )


def test_words_end_a_session() -> None:
    held = Cast(therapist=["word " * 20]).hold(max_words=25)
    assert (held.stop, len(held.session.turns)) == (StopReason.MAX_WORDS, 2)


def test_previous_summary_reaches_therapist_and_patient_as_a_block_and_is_no_turn() -> None:
    cast = Cast()
    held = cast.hold(opening="She slept badly.")
    assert cast.therapist.requests[0].messages[1].content == (
        f"[Summary of the previous session]\nShe slept badly.\n[End of summary]\n\n{FIRST}"
    )
    assert "She slept badly." in cast.patient.requests[0].messages[0].content
    assert held.session.opening == "She slept badly."
    assert "She slept badly." not in "".join(texts(held))
    assert "She slept badly." not in cast.summariser.requests[0].messages[1].content


def test_each_model_sees_itself_as_the_assistant() -> None:
    cast = Cast()
    cast.hold(max_messages=6)
    assert [message.role for message in cast.therapist.requests[2].messages] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    seen = cast.patient.requests[1].messages
    assert [message.role for message in seen] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert [seen[2].content, seen[5].content] == [FIRST, "What happened in turn 1?"]


def test_conversations_begin_as_their_last_request_did() -> None:
    cast = Cast()
    cast.hold()
    for script in (cast.therapist, cast.patient):
        for earlier, later in zip(script.requests, script.requests[1:], strict=False):
            assert later.messages[: len(earlier.messages)] == earlier.messages


def test_therapist_knows_the_phase_and_the_end_mark_and_nothing_of_the_patients_profile() -> None:
    cast = Cast()
    cast.hold()
    system = cast.therapist.requests[0].messages[0].content
    for text in (
        "Test a thought.",
        "A thought record.",
        "session 2 of 3",
        "Teresa Lindqvist",
        MARK,
    ):
        assert text in system
    assert "school cook" not in system
    assert "school cook" in cast.patient.requests[0].messages[0].content


@pytest.mark.parametrize(
    ("answer", "stop"),
    [
        ("", StopReason.THERAPIST_EMPTY),
        (" \n", StopReason.THERAPIST_EMPTY),
        (REFUSED, StopReason.THERAPIST_REFUSED),
        ("<think>I must", StopReason.THERAPIST_CUT),
        (ModelFailure("context_full"), StopReason.CONTEXT_FULL),
    ],
)
def test_therapist_that_falls_silent_ends_the_session_with_that_reason(
    answer: Any, stop: StopReason
) -> None:
    cast = Cast(therapist=["What happened?", answer])
    held = cast.hold()
    assert (held.stop, len(held.session.turns), held.session.summary) == (stop, 3, SUMMARY)
    assert cast.therapist.calls == 1 + 3


def test_therapist_that_is_useless_once_is_asked_again_with_another_seed() -> None:
    cast = Cast(therapist=["", REFUSED, "What happened?", MARK])
    assert cast.hold().stop is StopReason.END_TOKEN
    assert len({request.seed for request in cast.therapist.requests[:3]}) == 3


def test_therapist_that_is_silent_from_the_start_leaves_a_session_of_one_turn() -> None:
    held = Cast(therapist=[""]).hold()
    assert (held.stop, texts(held)) == (StopReason.THERAPIST_EMPTY, [FIRST])


@pytest.mark.parametrize(("answer", "reason"), [("", "empty"), (REFUSED, "refused")])
def test_patient_that_falls_silent_is_a_failure_of_the_apparatus(answer: Any, reason: str) -> None:
    cast = Cast(patient=[answer])
    with pytest.raises(ModelFailure) as caught:
        cast.hold()
    assert (caught.value.reason, cast.patient.calls, cast.summariser.calls) == (reason, 3, 0)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It is late. What do you", "It is late."),
        ('She said "no." And th', 'She said "no."'),
        ("Was it 3.5 of te", "Was it 3.5 of te"),
        ("One! Two? Thr", "One! Two?"),
    ],
)
def test_turn_cut_at_the_token_limit_ends_with_its_last_whole_sentence(
    text: str, kept: str
) -> None:
    held = Cast(therapist=[cut(text), MARK], patient=[cut("I tried. But I cou")]).hold()
    assert texts(held)[1:] == [kept, "I tried."]
    assert held.cut == 2


SILENT = (
    ("", "empty"),
    (REFUSED, "refused"),
    (cut(as_json({"summary": SUMMARY})), "cut"),
    ("They talked.", "malformed"),
    (as_json({"summary": "x" * 9}), "summary_length"),
    (as_json({"summary": "x" * 61}), "summary_length"),
    (as_json({"sum": SUMMARY}), "summary_length"),
    (as_json({"summary": 3}), "summary_length"),
)


@pytest.mark.parametrize(
    ("answer", "reason"), SILENT, ids=[f"{reason}-{n}" for n, (_, reason) in enumerate(SILENT)]
)
def test_summariser_that_fails_leaves_the_chain_owed(answer: Any, reason: str) -> None:
    cast = Cast(summariser=[answer])
    with pytest.raises(Infrastructure, match=f"summariser: {reason}: 3 attempts") as caught:
        cast.hold()
    assert (caught.value.kind, cast.summariser.calls) == ("summariser", 3)


@pytest.mark.parametrize("length", [10, 60])
def test_summary_at_its_bounds_is_kept(length: int) -> None:
    assert (
        Cast(summariser=["", as_json({"summary": "x" * length})]).hold().session.summary
        == "x" * length
    )


def test_summariser_sees_the_whole_dialogue() -> None:
    cast = Cast()
    held = cast.hold()
    assert all(text in cast.summariser.requests[0].messages[1].content for text in texts(held))


@pytest.mark.parametrize("who", ["therapist", "patient", "summariser"])
def test_fault_of_the_world_passes_through(who: str) -> None:
    with pytest.raises(Infrastructure, match="time-out"):
        Cast(**{who: [Infrastructure("time-out", "timeout")]}).hold()


def seeds(seed: int) -> list[int]:
    cast = Cast()
    cast.hold(seed=seed)
    return [
        request.seed
        for script in (cast.therapist, cast.patient, cast.summariser)
        for request in script.requests
    ]


def test_seed_decides_all_seeds() -> None:
    assert seeds(5) == seeds(5)
    assert not set(seeds(5)) & set(seeds(5000))
    assert len(set(seeds(5)[:-1])) == len(seeds(5)) - 1


def test_what_a_model_only_thought_reaches_nobody_else() -> None:
    cast = Cast(
        therapist=[
            "Sad again.</think>What happened?",
            f"<think>Done.</think>See you next week. {MARK}",
        ],
        patient=["<think>Be short.</think>I stayed in bed."],
        summariser=['<think>Short.</think>{"summary": "' + SUMMARY + '"}'],
    )
    held = cast.hold()
    assert texts(held) == [FIRST, "What happened?", "I stayed in bed.", "See you next week."]
    assert held.session.summary == SUMMARY
    asked = str([script.requests for script in (cast.therapist, cast.patient, cast.summariser)])
    assert not any(thought in asked for thought in ("think>", "Sad again", "Be short", "Done."))
