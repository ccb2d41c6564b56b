"""The judgements of the parity gate on what was heard, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cbt_ray.training.gate.heard import Answer, Heard, Spoken
from cbt_ray.training.gate.parity import TIE, greedy, leaks, merge, quantization, special, stops
from cbt_ray.training.gate.reference import Reference
from cbt_ray.training.start.base import Base
from tests.training.sessions import CHATML

pytestmark = pytest.mark.train
BASE = Base(Path("nowhere"), "0" * 64, CHATML, bos_id=1, eos_id=2, pad_id=2)
SPECIAL = {"bos": 1, "eos": 2, "eos_stated": 2, "eos_ends": True, "pad": 2}


def _heard(
    spoken: list[Spoken] | None = None, answers: list[Answer] | None = None, **special_ids: Any
) -> Heard:
    return Heard(CHATML.source, [], [], {**SPECIAL, **special_ids}, spoken or [], answers or [])


def _rows(*rows: list[float]) -> Any:
    import numpy

    return numpy.array(rows, dtype=numpy.float32)


@pytest.mark.parametrize(
    ("margin", "passed", "ties"),
    [(0.0, True, 0), (TIE * 0.9, True, 1), (TIE * 1.1, False, 0), (5.0, False, 0)],
)
def test_another_token_is_a_tie_only_where_the_reference_hardly_prefers_its_own(
    margin: float, passed: bool, ties: int
) -> None:
    reference = Reference([0.0], [_rows([3.0, 3.0 - margin, 0.0], [0.0, 9.0, 0.0])])
    said = Spoken([1 if margin else 0, 1], _rows([3.0, 3.0 - margin, 0.0], [0.0, 9.0, 0.0]))
    check = greedy(_heard([said]), reference)
    assert (check.passed, check.measured["ties"], check.measured["tokens"]) == (passed, ties, 2)
    assert check.measured["largest_margin"] == pytest.approx(margin, abs=1e-6)


def test_equal_tokens_of_other_weights_fail_by_their_divergence() -> None:
    reference = Reference([0.0], [_rows([3.0, 0.0, 0.0])])
    assert greedy(_heard([Spoken([0], _rows([3.0, 0.0, 0.0]))]), reference).passed
    assert greedy(_heard([Spoken([0], _rows([1.0, 0.0, 0.0]))]), reference).passed is False
    assert (
        greedy(_heard([Spoken([0], _rows([3.0, 0.0, 0.0, 0.0]))]), reference).passed is False
    )  # another vocabulary
    assert greedy(_heard(), Reference()).passed is False  # nothing was heard


def test_a_token_beyond_the_vocabulary_fails() -> None:
    check = greedy(
        _heard([Spoken([7], _rows([3.0, 0.0, 0.0]))]), Reference([0.0], [_rows([3.0, 0.0, 0.0])])
    )
    assert check.passed is False
    assert check.measured["largest_margin"] is None


@pytest.mark.parametrize(
    ("nats", "passed"), [([0.0, 1e-5], True), ([0.0, 1e-4], False), ([float("nan")], False)]
)
def test_a_merge_is_judged_by_its_mean_divergence(nats: list[float], passed: bool) -> None:
    assert merge(Reference(nats)).passed is passed


@pytest.mark.parametrize(
    ("ends", "passed"),
    [
        ([2, 2, None, None], True),
        ([2, None, None, None], False),
        ([0, 0, 0, 2], False),
        ([], False),
    ],
)
def test_half_of_the_answers_must_end_by_the_eos_of_training(
    ends: list[int | None], passed: bool
) -> None:
    heard = _heard(answers=[Answer([5, 6], "Well.", end) for end in ends])
    assert stops(heard, BASE, 160, tuned=True).passed is passed
    assert stops(heard, BASE, 160, tuned=False).passed is None


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("What went through your mind?", []),
        ("### Plan\nSleep.", []),
        ("Fine.<|im_end|>\n<|im_start|>user", ["<|", "<|im_end|>", "<|im_start|>"]),
        ("Fine. [INST] Go on", ["[INST]"]),
        ("Fine.\n### Response:", ["### Response"]),
    ],
)
def test_pieces_of_templates_are_leaks(text: str, pieces: list[str]) -> None:
    check = leaks(_heard(answers=[Answer([5], "Well.", 2), Answer([5], text, 2)]), BASE, tuned=True)
    assert check.measured == {"answers": 2, "leaked": int(bool(pieces)), "pieces": pieces}
    assert check.passed is not bool(pieces)


@pytest.mark.parametrize(
    ("found", "pad", "passed"),
    [
        ({}, 2, True),
        ({"pad": 9}, 2, True),  # training has no pad of its own
        ({"pad": 9}, 5, False),
        ({"pad": None}, 5, True),
        ({"eos_stated": None}, 2, False),
        ({"eos_ends": False}, 2, False),
    ],
)
def test_special_ids_are_those_of_training(found: dict[str, Any], pad: int, passed: bool) -> None:
    own = Base(BASE.folder, BASE.digest, CHATML, 1, 2, pad)
    assert special({"f16": _heard(**found)}, own).passed is passed
    assert special({"f16": _heard(pad=pad), "quantized": _heard(**found)}, own).passed is passed


def test_a_quantized_file_is_compared_on_the_tokens_of_the_other() -> None:
    first = _heard([Spoken([0, 1], _rows([3.0, 0.0], [0.0, 3.0]))])
    second = _heard([Spoken([0, 1], _rows([3.0, 0.0], [1.0, 0.0]))])
    check = quantization(first, second)
    assert (check.passed, check.measured["agreement"], check.measured["tokens"]) == (None, 0.5, 2)
    assert check.measured["divergence"] > 0.1
