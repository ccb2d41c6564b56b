"""ORPO's loss and gradients against TRL's own trainer, untouched, on one batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend import trl_backend
from cbt_ray.training.backend.arguments import orpo_arguments
from cbt_ray.training.backend.job import Job
from cbt_ray.training.backend.orpo import orpo_trainer, row
from cbt_ray.training.backend.trainer import _tokenizer
from cbt_ray.training.mask import IGNORED, Window
from cbt_ray.training.preference import Pair, pair, read_preferences
from cbt_ray.training.start.base import Base
from tests.training.sessions import PAIRS
from tests.training.test_preference import LINE, written

pytestmark = pytest.mark.train
BATCHINGS = ["padded", "padding_free"]


@pytest.fixture
def pairs(tiny: Base, tmp_path: Path) -> list[Pair]:
    """Answers of unequal lengths behind conversations of unequal lengths."""
    lines = [
        {**LINE, "messages": LINE["messages"][-1 - 2 * (number % 2) :], **sides}
        for number, (said, answer) in enumerate(PAIRS)
        for sides in [{"chosen": answer, "rejected": f"{said} {answer}"}]
    ]
    file = written(tmp_path, *lines)
    return pair(read_preferences(file), tiny.template, tiny.tokenizer, 192).pairs


def _whole(window: Window) -> Window:
    """All of it is an answer, but for the token that nothing is before."""
    return replace(window, labels=[IGNORED, *window.input_ids[1:]])


def _job(tiny: Base, recipe: Recipe, pairs: list[Pair], tmp_path: Path, batching: str) -> Job:
    own = recipe.model_copy(
        update={
            **{"method": "orpo", "batching": batching, "orpo_beta": 2.0, "load_4bit": False},
            "lora": recipe.lora.model_copy(update={"dropout": 0.0}),
        }
    )
    return Job(own, tiny, [], {}, tmp_path / batching, 1, pairs)


def _model(job: Job) -> Any:
    """With an adapter that is not zero, or half of the gradients would be."""
    import torch

    model = trl_backend.adapted_model(job)
    draw = torch.Generator().manual_seed(1)
    for name, one in sorted(model.named_parameters()):
        if "lora_B" in name:
            one.data = torch.randn(one.shape, generator=draw) * 0.1
    return model.train()


def _ours(job: Job) -> Any:
    from transformers import TrainerCallback

    return orpo_trainer(_model(job), job, _tokenizer(job), TrainerCallback())


def _trls(job: Job) -> Any:
    """TRL's own trainer; it only does not make tokens of text, since these are tokens."""
    from datasets import Dataset
    from trl.experimental.orpo import ORPOTrainer

    class Tokens(ORPOTrainer):  # type: ignore[misc]
        def tokenize_row(self, feature: Any, model: Any = None) -> Any:
            return feature

    return Tokens(
        model=_model(job),
        args=orpo_arguments(job),
        train_dataset=Dataset.from_list([row(one) for one in job.pairs]),
        processing_class=_tokenizer(job),
    )


def _batch(trainer: Any) -> Any:
    return next(iter(trainer.get_train_dataloader()))


def _gradients(trainer: Any, loss: Any) -> dict[str, Any]:
    trainer.model.zero_grad()
    loss.backward()
    return {name: one.grad for name, one in trainer.model.named_parameters() if one.requires_grad}


def _same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for name, one in theirs.items():
        apart = float((ours[name] - one).norm() / one.norm())
        assert apart < 1e-5, f"{name}: {apart:g} of its norm"


@pytest.mark.parametrize("batching", BATCHINGS)
def test_where_there_is_no_conversation_the_whole_loss_is_trls(
    tiny: Base, recipe: Recipe, pairs: list[Pair], tmp_path: Path, batching: str
) -> None:
    """TRL's likelihood counts the conversation, ours does not: here is none."""
    answers = [Pair(_whole(one.chosen), _whole(one.rejected)) for one in pairs]
    job = _job(tiny, recipe.model_copy(update={"batch": 4}), answers, tmp_path, batching)
    ours, theirs = _ours(job), _trls(job)
    batch = _batch(theirs)
    assert len(batch["chosen_attention_mask"].sum(-1).unique()) > 1, "windows of unequal lengths"
    mine, figures = ours.get_batch_loss_metrics(ours.model, batch)
    trls, expected = theirs.get_batch_loss_metrics(theirs.model, batch)
    assert mine.item() == pytest.approx(trls.item(), abs=1e-5)
    names = {name for name in expected if not name.startswith("logits/")}
    assert {n: figures[n] for n in names} == pytest.approx(
        {n: expected[n] for n in names}, abs=1e-5
    )
    _same(_gradients(ours, mine), _gradients(theirs, trls))


@pytest.mark.parametrize("batching", BATCHINGS)
def test_the_odds_ratio_is_trls_and_the_likelihood_that_of_the_answers(
    tiny: Base, recipe: Recipe, pairs: list[Pair], tmp_path: Path, batching: str
) -> None:
    """Behind a conversation both terms apart, each with TRL's own functions."""
    import torch

    job = _job(tiny, recipe.model_copy(update={"batch": 4}), pairs, tmp_path, batching)
    ours, theirs = _ours(job), _trls(job)
    batch = _batch(theirs)

    def terms(trainer: Any, found: Any) -> Any:
        return -trainer.odds_ratio_loss(found[0], found[1])[0].mean()

    mine, trls = (one.concatenated_forward(one.model, batch) for one in (ours, theirs))
    _same(_gradients(ours, terms(ours, mine)), _gradients(theirs, terms(theirs, trls)))

    mine = ours.concatenated_forward(ours.model, batch)
    logits = theirs.model(batch["chosen_input_ids"], batch["chosen_attention_mask"]).logits
    flat = logits[:, :-1].flatten(0, 1), batch["chosen_labels"][:, 1:].flatten()
    expected = torch.nn.functional.cross_entropy(*flat, ignore_index=IGNORED)
    assert mine[4].item() == pytest.approx(expected.item(), abs=1e-5)
    _same(_gradients(ours, mine[4]), _gradients(theirs, expected))


def test_answers_that_saw_each_other_would_be_noticed(
    tiny: Base,
    recipe: Recipe,
    pairs: list[Pair],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Positions that run on through the row are not told apart."""
    import torch

    more = recipe.model_copy(update={"batch": 4})
    trainers = [_ours(_job(tiny, more, pairs, tmp_path, batching)) for batching in BATCHINGS]
    batch = _batch(trainers[0])

    def run_on(_module: Any, _args: Any, fed: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return _args, fed | {"position_ids": torch.arange(fed["input_ids"].shape[1])[None]}

    trainers[1].model.register_forward_pre_hook(run_on, with_kwargs=True)
    padded, harmed = (one.get_batch_loss_metrics(one.model, batch)[0].item() for one in trainers)
    assert harmed != pytest.approx(padded, abs=1e-4)
