"""What a model only thought is taken out of its reply, whoever made the reply."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cbt_ray.errors import ModelFailure
from cbt_ray.llm.reasoning import heard, opening
from cbt_ray.llm.request import Finish, Reply
from cbt_ray.therapy.answer import read_json, read_text

THOUGHT = "The patient is sad. I ask about the week."
MARKS = [
    ("<think>", "</think>"),
    ("<THINK>\n", "\n</THINK>\n\n"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<unused94>", "<unused95>"),
]


def reply(text: str, finish: Finish = Finish.STOP) -> Reply:
    return Reply(text, finish, 1, 1, "m")


@pytest.mark.parametrize(("opened", "closed"), MARKS)
def test_closed_unopened_and_unclosed(opened: str, closed: str) -> None:
    whole = reply(f"{opened}{THOUGHT}{closed}Hello.")
    assert (whole.text, whole.reasoning, whole.finish) == ("Hello.", THOUGHT, Finish.STOP)
    unopened = reply(f"{THOUGHT}{closed}Hello.")
    assert (unopened.text, unopened.reasoning) == ("Hello.", THOUGHT)
    unclosed = reply(f"{opened}{THOUGHT}")
    assert (unclosed.text, unclosed.reasoning) == ("", THOUGHT)
    with pytest.raises(ModelFailure, match="cut"):
        read_text(unclosed)
    assert opening(f"<|assistant|>{opened}\n").strip() == opened.strip()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello. <think>now the sleep</think> How did you sleep?", "Hello.  How did you sleep?"),
        ("<think>a <think> b</think> c</think>Hello.", "Hello."),
        ("<think>one</think><think>two</think>Hello.", "Hello."),
        ("<think></think>\n\nHello.", "Hello."),
        ("<think>why</think><answer>Hello.</answer>", "Hello."),
        ("<|channel|>commentary<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>Hello.<|return|>", "Hello."),
        ("<|channel|>final <|constrain|>json<|message|>Hello.", "Hello."),
        ("analysisWe greet.assistantfinalHello.", "Hello."),
    ],
)
def test_other_forms(text: str, said: str) -> None:
    assert reply(text).text == said


@pytest.mark.parametrize(
    "text",
    [
        "Hello.",
        "  Hello, with room around it. ",
        "I think: <3 is more than 2>",
        "[thinking] I do not know.",
        "analysis of the week shows little sleep.",
        "Analysis. We look at the week.",
        '{"justification": "says <think> and </think> aloud", "word": "Poor"}',
    ],
)
def test_what_is_no_reasoning_stays_to_the_letter(text: str) -> None:
    assert heard(text).said == text
    assert not heard(text).thought


def test_an_answer_in_json_is_read_after_the_reasoning() -> None:
    assert read_json(reply('<think>{"a": 0}</think>\n```json\n{"a": 1}\n```')) == {"a": 1}


@pytest.mark.parametrize("text", ['{"a": "<think>now what"}', '{"a": ["<|channel|>analysis"]}'])
def test_reasoning_within_json_is_asked_for_again(text: str) -> None:
    with pytest.raises(ModelFailure, match="reasoning"):
        read_json(reply(text))


@pytest.mark.parametrize("depth", [200, 480, 900, 3000, 300_000])
def test_json_of_any_depth_is_read_or_malformed(depth: int) -> None:
    deep = reply('{"a":' + "[" * depth + "]" * depth + "}")
    if depth < 300:
        assert "a" in read_json(deep)
    else:
        with pytest.raises(ModelFailure, match="no JSON"):
            read_json(deep)


def test_half_a_character_is_replaced_in_text_and_in_json() -> None:
    assert reply("Well done \ud83d").text == "Well done \ufffd"
    assert reply("\ud83d\ude00").text == "\U0001f600"
    assert read_json(reply('{"a": ["x \\ud83d"]}')) == {"a": ["x \ufffd"]}


def test_tokens_that_went_to_the_reasoning_leave_a_cut_answer() -> None:
    assert Reply("", Finish.LENGTH, 1, 1, "m", reasoning=THOUGHT).finish is Finish.CUT
    with pytest.raises(ModelFailure, match="cut"):
        read_text(reply("", Finish.LENGTH))


def test_a_reply_made_from_another_keeps_its_reasoning() -> None:
    changed = replace(reply(f"<think>{THOUGHT}</think>Hello."), text="Good day.")
    assert (changed.text, changed.reasoning) == ("Good day.", THOUGHT)
