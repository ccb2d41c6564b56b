"""What a model only thought is taken out of its reply, whoever made the reply."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from cbt_ray.errors import ModelFailure
from cbt_ray.llm.reasoning import opening, parted
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
        (
            "<|channel|>commentary<|message|>x<|end|><|start|>assistant"
            "<|channel|>final<|message|>Hello.<|return|>",
            "Hello.",
        ),
        ("<|channel|>final <|constrain|>json<|message|>Hello.", "Hello."),
        ("analysisWe greet.assistantfinalHello.", "Hello."),
        ("assistantfinalHello.", "Hello."),
        ("Here is my thought process: a\n\nHere is my response: Hello.", "Hello."),
        ("<|begin|>assistant<|think|>a<|end|><|begin|>assistant<|content|>Hello.", "Hello."),
        ('<think time="3">a</think>Hello.', "Hello."),
        ("<think>Is `</think>` meant?</think>Hello.", "Hello."),
        ('I say "Hello."</think>"Hello."', '"Hello."'),
        ("so greet her</think>Hello.", "Hello."),
        ("```\n<think>a</think>\nHello.\n```", "```\n\nHello.\n```"),
        ('<think>a</think>{"b": "<think> aloud"}', '{"b": "<think> aloud"}'),
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
        "analysis: the week was hard.",
        "Here's my thought process: I see the mail and I panic.",
        "You wrote `<think>` in your diary.",
        "You wrote “<think>”, and then (“</think>”).",
        "The app printed a stray </think> tag and I laughed.",
        "Between <think> and </think> it is silent.",
        "The log has <|channel|> tokens in it.",
        "Try: I feel <feeling> because <thought>.",
        "Write <thought> here, then what followed.",
        "They print `<think>why</think>` first.",
        "For example:\n```\n<think>\nwhy\n</think>\nHello.\n```\nThat is all.",
        '```json\n{"justification": "says <think> aloud"}\n```',
        '{"justification": "says <think> and </think> aloud", "word": "Poor"}',
    ],
)
def test_what_is_no_reasoning_stays_to_the_letter(text: str) -> None:
    assert parted(text).said == text
    assert not parted(text).thought


@pytest.mark.parametrize(
    "text", ["I feel it because <thought> and", "Here is my thought process: she"]
)
def test_what_may_be_a_quotation_is_none_where_the_reply_was_cut(text: str) -> None:
    with pytest.raises(ModelFailure, match="cut"):
        read_text(reply(text, Finish.LENGTH))


@pytest.mark.slow
def test_the_time_that_parting_takes_grows_with_the_text_and_not_its_square() -> None:
    def seconds(text: str) -> float:
        """The least of three, as others only add to it: what other programs and tests left."""
        return min(once(text) for _ in range(3))

    def once(text: str) -> float:
        begun = time.process_time()
        parted(text)
        return time.process_time() - begun

    for text in ("</think>", " `<think>", "x `<think> `</think> ", "a\n```\n", "<a_"):
        assert seconds(text * 16_000) < 60 * max(seconds(text * 2_000), 0.005), text


def test_an_answer_in_json_is_read_after_the_reasoning() -> None:
    assert read_json(reply('<think>{"a": 0}</think>\n```json\n{"a": 1}\n```')) == {"a": 1}


@pytest.mark.parametrize("text", ['{"a": "<think>now what"}', '{"a": ["<|channel|>analysis"]}'])
def test_reasoning_within_json_is_asked_for_again(text: str) -> None:
    with pytest.raises(ModelFailure, match="reasoning"):
        read_json(reply(text))


@pytest.mark.parametrize("depth", [200, 900, 3000, 300_000])
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
