"""The table of both formats, on runs whose answer is known."""

from __future__ import annotations

from typing import Any

import pytest

from tests.training.formats_table import interval, per_token, table


def run(kind: str, seed: int, tokens: int, **losses: list[float]) -> dict[str, Any]:
    held_out = {
        form: [{"session": n, "tokens": 10, "loss": loss} for n, loss in enumerate(row)]
        for form, row in losses.items()
    }
    return {
        "kind": kind,
        "seed": seed,
        "therapist_tokens": 100,
        "tokens": tokens,
        "cpu_s": tokens,
        "wall_s": 2,
        "held_out": held_out,
    }


def test_ratios_and_differences() -> None:
    runs = [run("before", 0, 1, chat=[3.0, 3.0])]
    runs += [run("session", seed, 200, chat=[1.0 + seed, 2.0 + seed]) for seed in (1, 2)]
    runs += [
        run("paper", seed, 3000, alpaca=[1.1 + seed, 2.3 + seed], chat=[2.0 + seed, 3.0 + seed])
        for seed in (1, 2)
    ]
    text = table(runs)
    assert "| session 1 | chat | 100 | 200 | 2.0 | 200 | 2 | 2.5000 |" in text
    assert "- tokens processed a therapist token, paper over session: 15.0, 15.0" in text
    assert "- wall time a therapist token, paper over session: 1.0, 1.0" in text
    assert (
        "paper (in its alpaca form): -0.2000 ± 1.2706 nats" in text
    )  # two sessions, -0.1 and -0.3: t(1) = 12.706
    assert "paper (in its chat form): -1.0000 ± 0.0000 nats" in text


def test_tokens_weigh_and_the_interval_is_students() -> None:
    assert per_token([{"tokens": 1, "loss": 1.0}, {"tokens": 3, "loss": 2.0}]) == 1.75
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 4.30265 / 3**0.5), rel=1e-5)
