"""Training on preference pairs: what reaches the model, the loss by hand, and the same checkpoints
as ever.
"""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError, Owed
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend import trl_backend
from cbt_ray.training.backend.job import MadeStep, Trained
from cbt_ray.training.mask import IGNORED
from cbt_ray.training.preference import Pair, pair, read_preferences
from cbt_ray.training.start.base import Base
from tests.training.backend.runs import Kept, Killed, Train, lasting, watch, weights
from tests.training.sessions import PAIRS
from tests.training.test_preference import LINE, written

pytestmark = pytest.mark.train


@pytest.fixture
def pairs(tiny: Base, tmp_path: Path) -> list[Pair]:
    """Answers of unequal lengths, chosen ones and rejected ones."""
    lines = [
        {**LINE, "chosen": f"{answer} ({number})", "rejected": said}
        for number in range(2)
        for said, answer in PAIRS
    ]
    return pair(
        read_preferences(written(tmp_path, *lines)), tiny.template, tiny.tokenizer, 192
    ).pairs


@pytest.fixture
def orpo(train: Train, pairs: list[Pair]) -> Train:
    def run(
        name: str, kept: Kept | None = None, report: Any = lambda _step: None, **more: Any
    ) -> Trained:
        return train(name, kept, report, job={"pairs": pairs, "train": []}, method="orpo", **more)

    return run


def test_the_pairs_reach_the_model_as_masked(
    orpo: Train, pairs: list[Pair], tiny: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once an epoch, nothing added in front or behind, nothing cut.

    Logits at the answers only.
    """
    fed: list[list[int]] = []
    kept: list[int] = []

    def record(module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        if not module.training:
            return  # how it takes to the pairs is measured
        for ids, seen in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
            fed.append(ids[: int(seen.sum())].tolist())
        kept.append(len(inputs["logits_to_keep"]))

    watch(monkeypatch, trl_backend, record)
    orpo("fed", held=False, max_steps=None, epochs=1.0, batching="padded")
    assert sorted(fed) == sorted(
        one.input_ids for made in pairs for one in (made.chosen, made.rejected)
    )
    assert all(ids[-1] == tiny.eos_id for ids in fed)
    assert max(kept) < 40 < min(map(len, fed))


def test_in_one_row_nothing_is_padding(
    orpo: Train, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[list[int]] = []

    def record(module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        if module.training:
            (ids,), (at,) = inputs["input_ids"].tolist(), inputs["position_ids"].tolist()
            begins = [place for place, number in enumerate(at) if number == 0]
            fed.extend(ids[a:b] for a, b in zip(begins, [*begins[1:], None], strict=True))

    watch(monkeypatch, trl_backend, record)
    trained = orpo("row", held=False, max_steps=None, epochs=1.0, batching="padding_free")
    windows = [one.input_ids for made in pairs for one in (made.chosen, made.rejected)]
    assert sorted(fed) == sorted(windows)
    assert trained.metrics["tokens_seen"] == sum(map(len, windows))


@pytest.mark.parametrize("batching", ["padded", "padding_free"])
def test_the_first_loss_is_that_by_hand(
    orpo: Train, pairs: list[Pair], tiny: Base, recipe: Recipe, batching: str
) -> None:
    """From all logits and the definition: -log p of chosen tokens, and beta times -log sigmoid of
    the log odds ratio.

    What is measured before is the same, each pair by itself.
    """
    import torch

    more = {
        "batch": len(pairs),
        "accumulation": 1,
        "max_steps": 1,
        "lora": recipe.lora.model_copy(update={"dropout": 0.0}),
    }
    trained = orpo("loss", orpo_beta=0.25, batching=batching, **more)
    model = trl_backend.load_model(tiny.folder, recipe).eval()

    def log_ps(window: Any) -> list[float]:
        with torch.no_grad():
            logits = model(torch.tensor([window.input_ids])).logits[0].double().log_softmax(-1)
        return [
            float(logits[at, label])
            for at, label in enumerate(window.labels[1:])
            if label != IGNORED
        ]

    def log_odds(log_p: list[float]) -> float:
        p = math.exp(sum(log_p) / len(log_p))
        return math.log(p / (1 - p))

    chosen, rejected = (
        [log_ps(one.chosen) for one in pairs],
        [log_ps(one.rejected) for one in pairs],
    )
    likelihood = -sum(map(sum, chosen)) / sum(map(len, chosen))
    ratios = [
        math.log(1 + math.exp(log_odds(r) - log_odds(c)))
        for c, r in zip(chosen, rejected, strict=True)
    ]
    odds = 0.25 * sum(ratios) / len(ratios)
    assert trained.metrics["loss"] == [pytest.approx(likelihood + odds, abs=1e-4)]

    means = [[sum(one) / len(one) for one in side] for side in (chosen, rejected)]
    likelier = sum(good > bad for good, bad in zip(*means, strict=True))
    good, bad = (sum(side) / len(side) for side in means)
    expected = {
        **{"preferred": likelier / len(pairs), "margin": good - bad},
        **{"log_p_chosen": good, "log_p_rejected": bad, "nll": likelihood, "odds": odds},
    }
    found = trained.metrics["preference"]["trained"]
    assert found["before"] == pytest.approx(expected, abs=1e-4)
    assert {name: trained.metrics[name] for name in expected} == {
        name: [pytest.approx(value, abs=1e-4)] for name, value in expected.items()
    }


def test_it_is_measured_before_and_after_on_pairs_that_it_sees_and_others(
    orpo: Train, train: Train, pairs: list[Pair]
) -> None:
    """And said where a model still prefers the rejected answers."""
    said: list[str] = []
    job = {"pairs": pairs[:-4], "held_out_pairs": pairs[-4:], "train": [], "say": said.append}
    more = {"method": "orpo", "learning_rate": 0.03, "orpo_beta": 1.0}
    kept = train("seen", job=job, max_steps=12, measured_pairs=3, **more).metrics
    assert {kind: one["pairs"] for kind, one in kept["preference"].items()} == {
        "trained": 3,
        "held_out": 3,
    }
    trained = kept["preference"]["trained"]
    assert trained["after"]["margin"] > trained["before"]["margin"] + 0.1
    assert trained["after"]["preferred"] == 1
    assert not [line for line in said if "warning: training pairs" in line]

    turned = [Pair(one.rejected, one.chosen) for one in pairs]
    train("turned", job={**job, "pairs": turned}, max_steps=12, **more)
    (line,) = [line for line in said if "warning: held-out pairs" in line]
    assert line.endswith("of 4, so the model still prefers the rejected ones")


@pytest.mark.parametrize("batching", ["padded", "padding_free"])
def test_the_margin_grows(orpo: Train, batching: str) -> None:
    metrics = orpo("margin", max_steps=12, orpo_beta=1.0, batching=batching).metrics
    assert len(metrics["margin"]) == len(metrics["preferred"]) == 12
    assert metrics["margin"][-1] > metrics["margin"][0] + 0.1
    assert metrics["loss"][-1] < metrics["loss"][0]
    terms = zip(metrics["loss"], metrics["nll"], metrics["odds"], strict=True)
    assert all(loss == pytest.approx(nll + odds, abs=1e-4) for loss, nll, odds in terms)


def test_killed_twice_it_ends_with_the_same_bits(orpo: Train, tmp_path: Path) -> None:
    whole, steps = orpo("whole"), list[MadeStep]()
    kept = Kept(tmp_path / "kept", die_behind={2})
    with pytest.raises(Killed):
        orpo("first", kept)

    def terminate(step: MadeStep) -> None:
        if step.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Owed, match="after step 5 of 6; running"):
        orpo("second", kept, terminate)
    continued = orpo("third", kept, steps.append)
    assert kept.steps == [2, 4, 5, 6]
    assert weights(continued) == weights(whole)
    assert lasting(continued) == lasting(whole)
    assert steps[-1].tokens == whole.metrics["tokens_seen"] > 0


def test_the_adapter_is_trained_in_fp32(orpo: Train) -> None:
    import torch
    from safetensors.torch import load_file

    for value in load_file(
        orpo("exact", max_steps=3).adapter / "adapter_model.safetensors"
    ).values():
        assert value.dtype == torch.float32
        assert not torch.equal(value, value.bfloat16().float())


def test_what_cannot_be_trained_is_refused(train: Train) -> None:
    with pytest.raises(InputError, match="preferences: expected at least one pair"):
        train("none", method="orpo")
