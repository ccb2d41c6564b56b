"""Stop rules replayed: where each would have ended a session, and the table of it."""

from __future__ import annotations

import pytest

from cbt_ray.study.protocol import EndToken, Farewell, Sessions, TherapistSummary
from cbt_ray.therapy.replay import Met, Quartiles, Rule, replay, rules_of, stop_table
from cbt_ray.therapy.session import Session
from cbt_ray.therapy.stop import StopReason
from tests.therapy.published import published
from tests.therapy.scripts import session
from tests.therapy.spoken import ENGLISH

PAPER, CODE = (Rule(one.name, one.phrases, one.whole_words) for one in ENGLISH.replayed)
PUBLISHED = (PAPER, CODE)
CODE_PHRASES = CODE.phrases
TALK = session(
    "Hi.",
    "Take care of yourself.",
    "Take care!",
    "Session summary: sleep. Take care.",
    "Bye.",
    "Goodbye!",
)


def ends(rule: Rule, held: Session = TALK, stop: StopReason | None = None) -> Met | None:
    return replay(held, [rule], stop)[rule]


@pytest.mark.parametrize(
    ("rule", "met"),
    [
        (CODE, Met(2, 1, "take care")),
        (PAPER, Met(4, 2, "session summary")),
        (Rule("farewell", ("goodbye",)), Met(6, 3, "goodbye")),
        (Rule("farewell", ("see you",)), None),
        (Rule("farewell", ("TAKE CARE",), min_therapist_turns=2), Met(4, 2, "TAKE CARE")),
        (Rule("farewell", ("take care",), min_therapist_turns=3), None),
        (Rule("max_messages", messages=5), Met(5, 2)),
        (Rule("max_messages", messages=6), Met(6, 3)),
        (Rule("max_messages", messages=7), None),
        (Rule("max_words", words=5), Met(2, 1)),
        (Rule("max_words", words=6), Met(3, 1)),
        (Rule("max_words", words=100), None),
    ],
)
def test_where_a_rule_ends_a_session(rule: Rule, met: Met | None) -> None:
    assert ends(rule) == met


def test_patient_s_farewell_ends_nothing() -> None:
    assert ends(CODE, session("Bye, take care.", "What else?")) is None


def test_phrases_are_looked_for_in_the_order_of_the_rule() -> None:
    assert ends(CODE, session("Hi.", "Take care. Goodbye.")) == Met(2, 1, "goodbye")


@pytest.mark.parametrize(("whole", "met"), [(True, None), (False, Met(2, 1, "bye"))])
def test_whole_words(whole: bool, met: Met | None) -> None:
    assert (
        ends(Rule("farewell", ("bye",), whole_words=whole), session("Hi.", "That is a byelaw."))
        == met
    )


def test_end_token_is_known_from_the_reason_alone() -> None:
    rule = Rule("end_token", ("[END OF SESSION]",))
    assert ends(rule) is None
    assert ends(rule, stop=StopReason.SUMMARY) is None
    assert ends(rule, stop=StopReason.END_TOKEN) == Met(6, 3, "[END OF SESSION]")


def test_session_without_a_therapist_turn() -> None:
    assert ends(CODE, session("Hi.")) is None
    assert ends(Rule("max_messages", messages=1), session("Hi.")) == Met(1, 0)


def test_rules_of_a_study() -> None:
    stop = (
        EndToken(rule="end_token"),
        TherapistSummary(rule="summary"),
        Farewell(rule="farewell", phrases=("so long",)),
    )
    found = rules_of(
        Sessions(count=1, stop=stop, min_therapist_turns=4, max_messages=40, max_words=900),
        ENGLISH,
    )
    assert [(rule.name, rule.min_therapist_turns) for rule in found] == [
        *(
            (name, least)
            for name in ("end_token", "summary", "farewell", "paper", "code")
            for least in (0, 4)
        ),
        ("max_messages", 0),
        ("max_words", 0),
    ]
    assert (found[4].phrases, found[-2].messages, found[-1].words) == (("so long",), 40, 900)


def test_without_a_minimum_each_rule_stands_once() -> None:
    assert [
        rule.name
        for rule in rules_of(
            Sessions(count=1, stop=(TherapistSummary(rule="summary"),), min_therapist_turns=0),
            ENGLISH,
        )
    ] == [*("summary", "paper", "code", "max_messages", "max_words")]


def test_table() -> None:
    short, long = session("Hi.", "Goodbye."), session("Hi.", "Well?", "So.", "Take care.")
    rows = stop_table(
        [
            ("a", short, None),
            ("a", long, None),
            ("a", session("Hi.", "Well?"), None),
            ("b", long, None),
        ],
        [CODE],
    )
    assert [(row.arm, row.sessions, row.ended, row.first_therapist_turn) for row in rows] == [
        ("a", 3, 2, 1),
        ("b", 1, 1, 0),
        (None, 4, 3, 1),
    ]
    assert rows[0].message == Quartiles(2.5, 3.0, 3.5)
    assert rows[1].message == Quartiles(4.0, 4.0, 4.0)
    assert list(rows[2].phrases.items()) == [("take care", 2), ("goodbye", 1)]


def test_table_of_nothing() -> None:
    assert stop_table([], [CODE]) == []
    [row, _] = stop_table([("a", session("Hi."), None)], [PAPER])
    assert (row.ended, row.message, row.phrases) == (0, None, {})


def test_code_s_rule_explains_every_published_end_by_a_phrase() -> None:
    ended = 0
    for one in published():
        met = replay(one.session, [CODE])[CODE]
        assert (met is not None) == (one.stop is StopReason.FAREWELL)
        if met:
            ended += 1
            assert met.message == len(one.session.turns)
            assert one.details == rf"Detected end phrase: '\b{met.phrase}\b'"
    assert ended == 67
    assert len(CODE_PHRASES) == 16


def test_published_sessions_under_the_default_rules_and_the_published_ones() -> None:
    sessions = [(one.label["group"].split("_")[0], one.session, one.stop) for one in published()]
    rows = {
        (row.arm, row.rule, row.min_therapist_turns): row
        for row in stop_table(sessions, rules_of(Sessions(count=20), ENGLISH))
    }
    found = {key: (row.ended, row.first_therapist_turn) for key, row in rows.items()}
    assert {key: value for key, value in found.items() if value[0]} == {
        ("Llama", "summary", 0): (7, 0),
        ("Llama", "summary", 4): (7, 0),
        ("Llama", "paper", 0): (7, 0),
        ("Llama", "paper", 4): (7, 0),
        ("Llama", "code", 0): (31, 0),
        ("Llama", "code", 4): (31, 0),
        ("Llama", "max_messages", 0): (9, 0),
        ("Mistral", "summary", 0): (3, 3),
        ("Mistral", "paper", 0): (3, 3),
        ("Mistral", "code", 0): (36, 12),
        ("Mistral", "code", 4): (12, 0),
        (None, "summary", 0): (10, 3),
        (None, "summary", 4): (7, 0),
        (None, "paper", 0): (10, 3),
        (None, "paper", 4): (7, 0),
        (None, "code", 0): (67, 12),
        (None, "code", 4): (43, 0),
        (None, "max_messages", 0): (9, 0),
    }
    assert rows[None, "code", 0].phrases == {
        "take care": 38,
        "don't hesitate to reach out": 17,
        "main topics discussed": 10,
        "see you next week": 1,
        "until our next session": 1,
    }
    assert [
        message.median for arm in ("Llama", "Mistral") if (message := rows[arm, "code", 0].message)
    ] == [32, 4]
