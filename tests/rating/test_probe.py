"""Probes spoil a session in the way that they say, and nothing else.

Where they cannot, they say why.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError, ModelFailure
from cbt_ray.llm.request import Request
from cbt_ray.prompts import Prompts
from cbt_ray.rating import probe
from cbt_ray.rating.guess import guess, load_kinds
from cbt_ray.rating.homework import HomeworkRules, load_homework
from cbt_ray.rating.probe import sampled, shuffled, silenced, swapped, without_homework
from cbt_ray.study.rater import Judge
from cbt_ray.therapy.session import Speaker, Turn
from tests.therapy.published import published
from tests.therapy.scripts import Script, as_json
from tests.therapy.spoken import WORDS

RULES = load_homework(Prompts())


def talk(*texts: str, first: str = "P") -> list[Turn]:
    """Turns that alternate, the patient first."""
    order = (
        (Speaker.PATIENT, Speaker.THERAPIST)
        if first == "P"
        else (Speaker.THERAPIST, Speaker.PATIENT)
    )
    return [Turn(order[n % 2], text) for n, text in enumerate(texts)]


def said(turns: tuple[Turn, ...] | list[Turn], speaker: Speaker) -> list[str]:
    return [turn.text for turn in turns if turn.speaker is speaker]


SESSION = talk("p1", "t1", "p2", "t2", "p3", "t3", "p4", "t4", "p5")


def test_empty_therapist_says_nothing_and_the_patient_all() -> None:
    spoilt = silenced(SESSION, WORDS.silence)
    assert set(said(spoilt.turns, Speaker.THERAPIST)) == {WORDS.silence}
    assert said(spoilt.turns, Speaker.PATIENT) == said(SESSION, Speaker.PATIENT)
    assert [turn.speaker for turn in spoilt.turns] == [turn.speaker for turn in SESSION]


@pytest.mark.parametrize("seed", range(20))
def test_shuffled_moves_every_therapist_turn_and_no_other(seed: int) -> None:
    spoilt = shuffled(SESSION, seed)
    before, after = said(SESSION, Speaker.THERAPIST), said(spoilt.turns, Speaker.THERAPIST)
    assert Counter(before) == Counter(after)
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert said(spoilt.turns, Speaker.PATIENT) == said(SESSION, Speaker.PATIENT)


def test_shuffle_follows_its_seed() -> None:
    assert shuffled(SESSION, 3) == shuffled(SESSION, 3)
    assert len({shuffled(SESSION, seed).turns for seed in range(20)}) > 3


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (talk("p1", "t1", "p2"), probe.SINGLE_TURN),
        (talk("p1"), probe.SINGLE_TURN),
        (talk("p1", "t", "p2", "t"), probe.NOTHING_CHANGED),
    ],
)
def test_shuffle_that_would_show_the_same_is_none(turns: list[Turn], reason: str) -> None:
    assert (shuffled(turns, 1).turns, shuffled(turns, 1).reason) == ((), reason)


def test_swapped_gives_the_patient_another_therapist() -> None:
    donor = talk("q1", "u1", "q2", "u2", "q3", "u3", "q4", "u4")
    spoilt = swapped(SESSION, donor)
    assert [turn.text for turn in spoilt.turns] == [
        "p1",
        "u1",
        "p2",
        "u2",
        "p3",
        "u3",
        "p4",
        "u4",
        "p5",
    ]
    assert [turn.speaker for turn in spoilt.turns] == [turn.speaker for turn in SESSION]


def test_swapped_keeps_beginning_and_end_where_one_session_is_longer() -> None:
    short, long = (
        talk("q1", "u1", "q2", "u2", "q3", "u3"),
        talk(*(f"{who}{n}" for n in range(1, 7) for who in "qu")),
    )
    shown = swapped(SESSION, short)
    assert ([turn.text for turn in shown.turns], shown.removed) == (
        ["p1", "u1", "p2", "u2", "p4", "u3", "p5"],
        1,
    )
    assert said(swapped(SESSION, long).turns, Speaker.THERAPIST) == ["u1", "u2", "u5", "u6"]


@pytest.mark.parametrize("donor", [None, [], talk("only the patient")])
def test_swapped_without_another_therapist_is_none(donor: list[Turn] | None) -> None:
    assert swapped(SESSION, donor).reason == probe.NO_DONOR


HOMEWORK = (
    "How did the thought record go?",
    "Did you manage to practise the breathing exercise?",
    "As homework, please write down three thoughts.",
    "I'd like you to keep a thought record until our next session.",
    "Try to take a walk every day this week.",
    "Over the next week, plan one thing that you enjoy each day.",
    "Let us look at your action plan.",
    "Since our last session, have you tried the worksheet?",
)
NO_HOMEWORK = (
    "What went through your mind when she left?",
    "Let us write this thought down together and test it now.",
    "How was your week?",
    "On a scale from one to ten, how strong is the sadness?",
    "That sounds hard, and it makes sense that you felt alone.",
    "What would you say to a friend who thinks this?",
    "I cannot help in a crisis; call the emergency services.",
    "Who was at home with you?",
    "How does this affect your daily life?",
)


@pytest.mark.parametrize("sentence", HOMEWORK)
def test_sentence_on_homework_is_found(sentence: str) -> None:
    assert RULES.is_homework(sentence)


@pytest.mark.parametrize("sentence", NO_HOMEWORK)
def test_other_sentence_is_left(sentence: str) -> None:
    assert not RULES.is_homework(sentence)


def test_homework_goes_sentence_by_sentence_from_both_speakers() -> None:
    turns = talk(
        "I did the homework. I slept badly.",
        "Thank you. How did the homework go? What kept you awake?",
        "My thoughts.",
        "Let us test one. For homework, keep a diary. Write down each thought in it. See you soon.",
        "I will do the homework.",
        "Goodbye.",
    )
    spoilt = without_homework(turns, RULES)
    assert [turn.text for turn in spoilt.turns] == [
        "I slept badly.",
        "Thank you. What kept you awake?",
        "My thoughts.",
        # the patient's turn between them held nothing else
        "Let us test one. See you soon. Goodbye.",
    ]
    assert spoilt.removed == 5
    assert not any("homework" in turn.text for turn in spoilt.turns)


def test_whole_list_goes_behind_its_heading_and_what_comes_after_it_stays() -> None:
    text = (
        "We did well today.\n\nHomework:\n1. Choir on Friday\n2. A letter to your son\n\nTake "
        "care of yourself."
    )
    assert RULES.without(text) == ("We did well today.\n\nTake care of yourself.", 3)
    outline = "4. Homework assigned:\n- Choir on Friday\n5. Insights:\n- Friends listen"
    assert RULES.without(outline) == ("5. Insights:\n- Friends listen", 2)


def test_text_without_homework_is_left_as_it_is() -> None:
    text = "How are you?\n\n  Tell me:\n- of the week\n- of the night. "
    assert RULES.without(text) == (text.strip(), 0)


def test_session_without_homework_cannot_be_probed_for_it() -> None:
    assert without_homework(SESSION, RULES).reason == probe.NO_HOMEWORK
    patient_only = talk("I did my homework.", "What else?")
    assert without_homework(patient_only, RULES).reason == probe.NO_HOMEWORK
    assert (
        without_homework(talk("Hello.", "How did the homework go?"), RULES).reason
        == probe.NOTHING_LEFT
    )


FAULTY = (
    ("names: [", "expected YAML"),
    ("names: [a]", "reviews: expected a value, none given"),
    (
        Prompts().path("probe/homework.yaml").read_text().replace("reach: 3", "reach: near"),
        "reach: expected a whole number",
    ),
    (
        Prompts().path("probe/homework.yaml").read_text().replace(r"- \bhome-?work", "- '('"),
        "names.0: expected a regular expression",
    ),
    (
        Prompts().path("probe/homework.yaml").read_text().replace(r"- \bhome-?work", "- 7"),
        "names.0: expected text, found 7",
    ),
)


@pytest.mark.parametrize(("text", "said"), FAULTY)
def test_faulty_rules_are_refused_with_file_and_field(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "probe" / "homework.yaml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(InputError, match=rf"(?s)^{re.escape(str(file))}.*: .*{re.escape(said)}"):
        load_homework(Prompts(tmp_path))


def test_rules_are_data(tmp_path: Path) -> None:
    file = tmp_path / "probe" / "homework.yaml"
    file.parent.mkdir()
    file.write_text(
        "names: [Hausaufgabe]\nreviews: ['^$x']\ntasks: ['^$x']\ntimes: ['^$x']\nfollows: "
        "['^$x']\nreach: 0\n"
    )
    rules: HomeworkRules = load_homework(Prompts(tmp_path))
    assert rules.without("Wie war es? Die Hausaufgabe fehlt.") == ("Wie war es?", 1)
    assert rules.without("How did the homework go?")[1] == 0


CHAINS = [(patient, replicate) for patient in ("a", "b", "c") for replicate in (1, 2)]


def test_sample_takes_one_of_every_chain_before_a_second() -> None:
    for count in (1, 5, 6, 7, 12, 13):
        drawn = Counter(
            (patient, replicate) for patient, replicate, _ in sampled(CHAINS, 20, count, 7)
        )
        assert sum(drawn.values()) == count
        assert max(drawn.values()) - min(drawn.get(chain, 0) for chain in CHAINS) <= 1


def test_larger_sample_keeps_the_smaller_one_and_another_seed_draws_another() -> None:
    assert sampled(CHAINS, 20, 12, 7)[:5] == sampled(CHAINS, 20, 5, 7)
    assert sampled(CHAINS, 20, 12, 7) != sampled(CHAINS, 20, 12, 8)
    assert len(set(sampled(CHAINS, 20, 1000, 7))) == 6 * 20


TOLD = load_kinds(Prompts(), ["instruct", "tuned"])
TEXT = "Patient: I slept badly.\n\nTherapist: What went through your mind?"


def asked_kind(script: Script, seed: int = 5, attempts: int = 3) -> str:
    judge = Judge(endpoint="script", attempts=attempts)
    return guess(TEXT, TOLD, "motivational interviewing", judge, Prompts(), script, seed).variant


def letters(request: Request) -> dict[str, str]:
    told = dict(re.findall(r"^- ([A-Z]): (.*)$", request.messages[0].content, re.MULTILINE))
    return {
        variant: letter
        for letter, text in told.items()
        for variant, known in TOLD.items()
        if known == text
    }


def test_guess_is_the_kind_behind_the_letter_and_letters_are_drawn() -> None:
    found = set()
    for seed in range(20):
        script = Script([as_json({"justification": "It quotes a manual.", "kind": "A"})])
        variant = asked_kind(script, seed)
        assert letters(script.requests[0])[variant] == "A"
        found.add(variant)
    assert found == {"instruct", "tuned"}, "the same letter must not always stand for the same kind"


def test_guess_names_no_variant_and_shows_the_transcript() -> None:
    script = Script([as_json({"justification": "It quotes a manual.", "kind": "B"})])
    asked_kind(script)
    seen = "\n".join(message.content for message in script.requests[0].messages) + str(
        script.requests[0].schema
    )
    assert TEXT in seen
    assert "an expert in motivational interviewing and" in seen
    assert "cognitive" not in seen, "the therapy is the study's own, as its scale says"
    assert not re.search(r"(?i)\b(tuned|instruct)\b", seen)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("", "empty"), ("A", "malformed"), ('{"kind": "C"}', "unknown_kind"), ("{}", "unknown_kind")],
)
def test_useless_guess_is_asked_for_again_and_then_rejected(answer: str, reason: str) -> None:
    script = Script([answer])
    with pytest.raises(ModelFailure) as caught:
        asked_kind(script)
    assert (caught.value.reason, script.calls) == (reason, 3)
    assert len({request.seed for request in script.requests}) == 3


def test_kind_that_nobody_described_is_refused() -> None:
    with pytest.raises(InputError, match=r"kinds\.yaml: orpo: expected a description"):
        load_kinds(Prompts(), ["instruct", "orpo"])


def test_homework_of_the_published_sessions_is_found_and_nobody_names_it_any_more() -> None:
    """Figures of docs/judge.md."""
    sessions = [list(one.session.turns) for one in published()]
    spoken = [turns for turns in sessions if said(turns, Speaker.THERAPIST)]
    found = [
        (turns, spoilt)
        for turns in spoken
        if (spoilt := without_homework(turns, RULES)).reason is None
    ]
    assert (len(sessions), len(spoken), len(found)) == (80, 76, 73)
    assert not any(
        re.search(r"(?i)homework", turn.text) for _, spoilt in found for turn in spoilt.turns
    )
    before, after = (
        sum(len(text.split()) for turns in group for text in said(turns, Speaker.THERAPIST))
        for group in _sides(found)
    )
    assert 1 - after / before == pytest.approx(0.098, abs=0.0006)
    assert sum(shuffled(turns, 1).reason is None for turns in spoken) == 64


def _sides(found: Any) -> tuple[list[Any], list[Any]]:
    return [turns for turns, _ in found], [spoilt.turns for _, spoilt in found]
