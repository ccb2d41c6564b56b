"""Preference pairs: how their file is read, and which tokens have a loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.training.mask import IGNORED
from cbt_ray.training.preference import Pair, pair, read_preferences
from tests.training.sessions import CHATML, SYSTEM, Characters

LINE: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "I slept 3 hours."},
        {"role": "assistant", "content": "What went through your mind?"},
        {"role": "user", "content": "That I'll fail."},
    ],
    "chosen": "What speaks for that thought, and what against it?",
    "rejected": "You will be fine.",
}


def written(tmp_path: Path, *lines: Any) -> Path:
    file = tmp_path / "pairs.jsonl"
    file.write_text(
        "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines)
    )
    return file


def _pairs(tmp_path: Path, *lines: Any, max_length: int = 10_000) -> list[Pair]:
    return pair(read_preferences(written(tmp_path, *lines)), CHATML, Characters(), max_length).pairs


def _text(ids: list[int]) -> str:
    return "".join(map(chr, ids))


def test_only_the_answers_and_their_ends_are_supervised(tmp_path: Path) -> None:
    (one,) = _pairs(tmp_path, LINE)
    for window, answer in ((one.chosen, LINE["chosen"]), (one.rejected, LINE["rejected"])):
        assert (
            _text([label for label in window.labels if label != IGNORED]) == f"{answer}<|im_end|>"
        )
        assert _text(window.input_ids) == f"{_text(one.prompt)}{answer}<|im_end|>"
        assert window.labels == [IGNORED] * len(one.prompt) + window.input_ids[len(one.prompt) :]
    prompt = "".join(
        f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in LINE["messages"]
    )
    assert _text(one.prompt) == prompt + "<|im_start|>assistant\n"


def test_pairs_too_long_are_left_out_and_counted(tmp_path: Path) -> None:
    long = {**LINE, "rejected": "x" * 500}
    found = read_preferences(written(tmp_path, *[LINE] * 9, long))
    made = pair(found, CHATML, Characters(), 400)
    assert (len(made.pairs), made.left_out) == (9, 1)
    assert max(len(window.input_ids) for window in made.windows) <= 400
    with pytest.raises(
        InputError,
        match=r"max_length: expected room .* 2 of 11 preference pairs do not fit 400 tokens",
    ):
        pair([*found, found[-1]], CHATML, Characters(), 400)


def test_of_a_long_conversation_the_oldest_exchanges_go_in_front_of_both(tmp_path: Path) -> None:
    """As of a `turn` example, so that both methods learn an answer behind the same words."""
    system, *_, last = LINE["messages"]
    said = [
        message
        for number in range(6)
        for message in (
            {"role": "user", "content": f"Patient {number}."},
            {"role": "assistant", "content": f"Therapist {number}."},
        )
    ]
    (one,) = _pairs(tmp_path, {**LINE, "messages": [system, *said, last]}, max_length=400)
    assert max(len(one.chosen.input_ids), len(one.rejected.input_ids)) <= 400
    found = _text(one.prompt)
    assert found.startswith(f"<|im_start|>system\n{system['content']}<|im_end|>\n")
    kept = [number for number in range(6) if f"Patient {number}." in found]
    assert kept == list(range(kept[0], 6)), "whole exchanges, the latest"
    assert 0 < kept[0] < 5
    assert found.count("<|im_start|>user") == len(kept) + 1
    assert _text(one.rejected.input_ids).startswith(found)


def test_a_mask_that_cannot_be_right_is_refused(tmp_path: Path) -> None:
    """Of 40,000 tokens before the answer, fewer than one in 500 would teach."""
    long = {
        **LINE,
        "messages": [{"role": "user", "content": "x" * 40_000}],
        "chosen": "Yes.",
        "rejected": "No.",
    }
    with pytest.raises(
        InputError,
        match=r"preferences: expected 0\.2% to 98\.0% of the tokens supervised, not 0\.0%",
    ):
        _pairs(tmp_path, long, max_length=50_000)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("{", r"expected JSON \("),
        ([], "expected an object of chosen, messages, rejected"),
        ({**LINE, "more": 1}, "expected an object of chosen, messages, rejected"),
        ({**LINE, "chosen": " "}, "chosen: expected text"),
        ({**LINE, "rejected": 3}, "rejected: expected text"),
        ({**LINE, "rejected": LINE["chosen"]}, "rejected: expected another answer than chosen"),
        ({**LINE, "messages": []}, "messages: expected at least one message"),
        ({**LINE, "messages": ["Hi."]}, "messages: 0: expected an object of role and content"),
        (
            {**LINE, "messages": [{"role": "patient", "content": "Hi."}]},
            "messages: 0: role: expected system, user, assistant",
        ),
        (
            {**LINE, "messages": [{"role": "user", "content": None}]},
            "messages: 0: content: expected text",
        ),
        (
            {**LINE, "messages": LINE["messages"][:3]},
            r"messages: expected the patient's words \(user\) last",
        ),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path: Path, harm: Any, said: str) -> None:
    file = written(tmp_path, LINE, "", harm)
    with pytest.raises(InputError, match=rf"pairs\.jsonl: line 3: {said}") as caught:
        read_preferences(file)
    assert "\n" not in str(caught.value)


def test_an_absent_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl: expected a file, there is none"):
        read_preferences(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"pairs\.jsonl: expected at least one pair"):
        read_preferences(written(tmp_path, ""))
