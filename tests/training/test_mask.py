"""Which tokens have a loss, token by token, and how a long session is windowed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from cbt_ray.errors import InputError
from cbt_ray.llm.request import Message
from cbt_ray.llm.template import ChatTemplate
from cbt_ray.study.model import Dataset
from cbt_ray.training.dataset import Example, alpaca, build
from cbt_ray.training.mask import IGNORED, Window, mask, supervise
from tests.therapy.spoken import WORDS
from tests.training.sessions import (
    CHATML,
    PAIRS,
    SYSTEM,
    Characters,
    by_patient,
    course,
    make_session,
)


def _examples(
    pairs: tuple[tuple[str, str], ...] = PAIRS, format_: str = "session", opening: str = ""
) -> list[Example]:
    settings = Dataset.model_validate({"format": format_, "held_out": 0})
    return build(
        by_patient([make_session("p", 1, pairs, opening)]), settings, lambda _session: SYSTEM, WORDS
    ).train


def _text(ids: list[int]) -> str:
    return "".join(map(chr, ids))


def _supervised(window: Window) -> list[str]:
    """The stretches of text with a loss."""
    marked = "".join("\0" if label == IGNORED else chr(label) for label in window.labels)
    return [piece for piece in marked.split("\0") if piece]


def test_mask_equals_an_independent_construction() -> None:
    """Here from ChatML's definition, piece by piece; there from rendered prefixes and offsets."""
    ids: list[int] = []
    labels: list[int] = []
    for message in _examples()[0]["messages"]:
        head, body, tail = (
            f"<|im_start|>{message['role']}\n",
            f"{message['content']}<|im_end|>",
            "\n",
        )
        own = message["role"] == "assistant"
        for piece, lost in ((head, False), (body, own), (tail, False)):
            ids += map(ord, piece)
            labels += [ord(one) if lost else IGNORED for one in piece]
    masked = mask(_examples(), CHATML, Characters(), 10_000)
    assert [(window.input_ids, window.labels) for window in masked.windows] == [(ids, labels)]


def test_the_end_of_each_turn_is_supervised_and_nothing_behind_it() -> None:
    (window,) = mask(_examples(), CHATML, Characters(), 10_000).windows
    assert _supervised(window) == [f"{answer} (p)<|im_end|>" for _, answer in PAIRS]


def test_no_word_of_patient_summary_or_system_is_supervised() -> None:
    (window,) = mask(_examples(opening="A summary."), CHATML, Characters(), 10_000).windows
    assert "A summary." in _text(window.input_ids)
    assert _supervised(window) == [f"{answer} (p)<|im_end|>" for _, answer in PAIRS]


@pytest.mark.parametrize("limit", [200, 260, 300, 400, 500])
def test_a_long_session_is_windowed_at_whole_turns(limit: int) -> None:
    masked = mask(_examples(), CHATML, Characters(), limit)
    assert [piece for window in masked.windows for piece in _supervised(window)] == [
        f"{a} (p)<|im_end|>" for _, a in PAIRS
    ]
    for window in masked.windows:
        text = _text(window.input_ids)
        assert len(window.input_ids) <= limit
        assert text.startswith(f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n")
        said = re.findall(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", text)
        assert said
        assert set(said) <= {patient for patient, _ in PAIRS}
    assert masked.left_out == 0
    assert masked.longest <= limit


def test_windows_are_as_long_as_they_can_be() -> None:
    whole = len(mask(_examples(), CHATML, Characters(), 10_000).windows[0].input_ids)
    assert len(mask(_examples(), CHATML, Characters(), whole).windows) == 1
    assert len(mask(_examples(), CHATML, Characters(), whole - 1).windows) == 2


def test_what_the_patient_says_last_leads_to_no_answer() -> None:
    examples = _examples()
    examples[0]["messages"].append({"role": "user", "content": "Bye."})
    assert mask(examples, CHATML, Characters(), 10_000) == mask(
        _examples(), CHATML, Characters(), 10_000
    )


def test_an_exchange_that_cannot_fit_is_left_out_and_counted() -> None:
    pairs = (("x" * 400, "Long."), *(PAIRS * 3))
    masked = mask(_examples(pairs), CHATML, Characters(), 300)
    assert masked.left_out == 1
    assert sum(len(_supervised(window)) for window in masked.windows) == 12


def test_too_many_turns_that_cannot_fit_are_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"max_length: expected room .* 4 of 4 therapist turns do not fit 80 tokens",
    ):
        mask(_examples(), CHATML, Characters(), 80)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "{% for m in messages %}{{ m.role }}:{{ m.content }} {% endfor %}{% if "
            "add_generation_prompt %}assistant:{% endif %}",
            "at the end",
        ),
        (
            "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' and not loop.last "
            "%}cut{% else %}{{ m.content }}"
            "{% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
            "the words of a message do not occur",
        ),
        ("{{ raise_exception('no system message') }}", "no system message"),
    ],
)
def test_a_template_that_cannot_be_masked_is_refused(source: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"chat_template: .*{reason}"):
        mask(_examples(), ChatTemplate(source, "", "<|im_end|>"), Characters(), 10_000)


@pytest.mark.parametrize("pairs", [(("x" * 3000, "y"),), (("x", "y" * 9000),)])
def test_a_share_out_of_range_is_refused(pairs: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(InputError, match=r"supervised, not"):
        mask(_examples(pairs), CHATML, Characters(), 20_000)


def test_paper_supervises_the_full_text_and_the_end() -> None:
    examples = _examples(format_="paper")
    windows = mask(examples, CHATML, Characters(), 10_000).windows
    assert [_text(window.labels) for window in windows] == [
        alpaca(example) + "<|im_end|>" for example in examples
    ]
    assert all(window.input_ids == window.labels for window in windows)


def test_paper_supervises_the_answer_and_the_end_where_asked() -> None:
    examples = _examples(format_="paper")
    full = mask(examples, CHATML, Characters(), 10_000).windows
    windows = mask(examples, CHATML, Characters(), 10_000, "answer").windows
    assert [_supervised(window) for window in windows] == [
        [example["response"] + "<|im_end|>"] for example in examples
    ]
    assert [window.input_ids for window in windows] == [window.input_ids for window in full]


def test_the_answer_is_supervised_where_turns_were_dropped() -> None:
    example = _examples(format_="paper")[-1]
    (window,) = mask([example], CHATML, Characters(), len(alpaca(example)) - 1, "answer").windows
    assert _supervised(window) == [example["response"] + "<|im_end|>"]


def test_paper_drops_the_oldest_turns_whole() -> None:
    examples = _examples(format_="paper")
    limit = len(alpaca(examples[-1])) - 1
    text = _text(mask(examples, CHATML, Characters(), limit).windows[-1].input_ids)
    assert PAIRS[0][0] not in text
    assert f"### Input:\nTherapist: {PAIRS[0][1]}" in text
    assert text.endswith(f"{examples[-1]['response']}<|im_end|>")


def test_counts() -> None:
    examples = build(
        by_patient(course("a") + course("b")), Dataset(), lambda _session: SYSTEM, WORDS
    ).train
    masked = mask(examples, CHATML, Characters(), 10_000)
    assert masked.tokens == sum(len(window.input_ids) for window in masked.windows)
    assert masked.supervised == sum(
        label != IGNORED for window in masked.windows for label in window.labels
    )
    assert masked.share == masked.supervised / masked.tokens


MOVES = """{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}
{%- set rest = messages[1:] %}{%- else %}{%- set rest = messages %}{%- endif %}{{- bos_token }}
{%- for message in rest %}{%- if message['role'] == 'user' %}
{%- if loop.last and system is defined %}
{{- '[INST] ' + system + '\\n\\n' + message['content'] + '[/INST]' }}
{%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}
{%- else %}{{- ' ' + message['content'] + eos_token }}{%- endif %}{%- endfor %}"""
"""A template that puts the system prompt in front of the last turn, as Mistral 7B v0.3's does."""


def test_the_recipe_of_mistral_brings_a_template_that_does_not_move_the_system_prompt() -> None:
    recipe = yaml.safe_load(
        (Path(__file__).parents[2] / "studies" / "recipes" / "mistral.yaml").read_text()
    )
    turns = [
        Message("system", "S"),
        *(Message(role, f"{role}{n}") for n in (1, 2) for role in ("user", "assistant")),
    ]
    with pytest.raises(InputError, match="not prefix-stable"):
        supervise(turns, ChatTemplate(MOVES, "<s>", "</s>"), Characters())
    own = ChatTemplate(recipe["chat_template"], "<s>", "</s>")
    text = "<s>[INST] S\n\nuser1[/INST] assistant1</s>[INST] user2[/INST] assistant2</s>"
    assert own.render(turns, answer=False) == text
    assert own.render(turns[:2], answer=True) == ChatTemplate(MOVES, "<s>", "</s>").render(
        turns[:2], answer=True
    )
    ids, labels = supervise(turns, own, Characters())
    assert _supervised(Window("", 1, ids, labels)) == [" assistant1</s>", " assistant2</s>"]
    assert _text(ids) == text


def test_of_a_turn_only_the_reply_is_supervised_and_no_earlier_one() -> None:
    examples = _examples(format_="turn")
    windows = mask(examples, CHATML, Characters(), 10_000).windows
    assert [_supervised(window) for window in windows] == [
        [f"{answer} (p)<|im_end|>"] for _, answer in PAIRS
    ]
    whole = _text(windows[-1].input_ids)
    assert all(said in whole for pair in PAIRS for said in pair)
    assert whole.endswith("<|im_end|>")


def test_a_turn_drops_the_oldest_exchanges_whole() -> None:
    example = _examples(format_="turn")[-1]
    ((whole,), (cut,)) = (
        mask([example], CHATML, Characters(), limit).windows
        for limit in (
            10_000,
            len(mask([example], CHATML, Characters(), 10_000).windows[0].input_ids) - 1,
        )
    )
    assert _supervised(cut) == _supervised(whole)
    text = _text(cut.input_ids)
    assert text.startswith(
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{PAIRS[1][0]}"
    )
    masked = mask(
        [example] * 20 + _examples((("x" * 400, "Long."),), "turn"), CHATML, Characters(), 300
    )
    assert (len(masked.windows), masked.left_out) == (20, 1)
