"""Words that a speaker says again."""

from __future__ import annotations

import time

import pytest

from cbt_ray.therapy.repetition import said_before

TEN = "one two three four five six seven eight nine ten"


@pytest.mark.parametrize(
    ("texts", "shares"),
    [
        ([], []),
        ([TEN], [0.0]),
        ([TEN, TEN], [0.0, 1.0]),
        ([TEN, TEN.upper().replace(" ", ", ")], [0.0, 1.0]),
        ([TEN, "zero " + TEN], [0.0, 10 / 11]),
        ([TEN, "four five six seven eight nine"], [0.0, 1.0]),
        ([TEN, "one two three, then eight nine ten"], [0.0, 0.0]),
        ([TEN, "one two three four, no: seven eight nine ten"], [0.0, 8 / 9]),
        ([f"{TEN} {TEN}"], [0.0]),
        (["", ""], [0.0, 0.0]),
        (["?!", "?!"], [0.0, 0.0]),
    ],
)
def test_share_of_words_said_before(texts: list[str], shares: list[float]) -> None:
    assert said_before(texts, 4) == pytest.approx(shares)


def test_shorter_run_than_asked_for_does_not_count() -> None:
    assert said_before([TEN, "and one two three four five once more"], 6) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("texts", "shares"),
    [
        (["Yes.", "yes", "No.", "Yes."], [0.0, 1.0, 0.0, 0.0]),
        ([TEN, "one two three"], [0.0, 0.0]),
    ],
)
def test_short_answer_repeats_only_the_one_right_before(
    texts: list[str], shares: list[float]
) -> None:
    assert said_before(texts, 4) == shares


def test_words_with_an_apostrophe_are_one_however_it_is_written() -> None:
    assert said_before(["I don't know yet", "I don\u2019t know yet"], 4) == [0.0, 1.0]
    assert said_before(["I don't know yet", "I don t know yet"], 4) == [0.0, 0.0]


@pytest.mark.slow
def test_time_is_linear_in_the_session() -> None:
    def seconds(turns: int) -> float:
        texts = [" ".join(f"word{turn}x{n}" for n in range(200)) for turn in range(turns)]
        start = time.process_time()
        said_before(texts, 8)
        return time.process_time() - start

    # Other programs only ever add to what a run takes, so the shortest of several is compared.
    assert min(seconds(800) for _ in range(5)) < 40 * max(
        min(seconds(100) for _ in range(5)), 0.002
    )
