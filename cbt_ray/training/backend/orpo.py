"""Training on preference pairs (ORPO, Hong et al.

2024, arXiv 2403.07691): TRL's trainer with our tokens and our labels.

TRL's own tokenization adds BOS and EOS and cuts what is too long, and its likelihood term counts
the conversation, too. Here rows come as they were masked, and both terms see the answers only.
Logits are made at the answers' places and nowhere else, but by Unsloth, which makes all of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cbt_ray.training.backend.arguments import one_row, orpo_arguments
from cbt_ray.training.backend.job import Job
from cbt_ray.training.mask import IGNORED, Window
from cbt_ray.training.preference import Pair


def orpo_trainer(model: Any, job: Job, tokenizer: Any, callback: Any) -> Any:
    """TRL's ORPOTrainer, fed with pairs that are tokens already."""
    from datasets import Dataset

    trainer = _trainer_class(Layout.of(job))(
        model=model,
        args=orpo_arguments(job),
        train_dataset=Dataset.from_list([row(pair) for pair in job.pairs]),
        processing_class=tokenizer,
        callbacks=[callback],
    )
    trainer.aux_loss_enabled = False
    return trainer


def row(pair: Pair) -> dict[str, list[int]]:
    """A pair in the columns that TRL's collator pads."""
    prompt = pair.prompt
    return {
        **_columns("chosen", pair.chosen),
        **_columns("rejected", pair.rejected),
        "prompt_input_ids": prompt,
        "prompt_attention_mask": [1] * len(prompt),
    }


def _columns(name: str, window: Window) -> dict[str, list[int]]:
    seen = [1] * len(window.input_ids)
    return {
        f"{name}_input_ids": window.input_ids,
        f"{name}_attention_mask": seen,
        f"{name}_labels": window.labels,
    }


class Layout(NamedTuple):
    """How the windows of a batch are laid out."""

    one_row: bool = False
    """All one after the other, each seeing itself only."""
    told: bool = False
    """The model is told how long each is: Unsloth does not see it by the positions."""

    @classmethod
    def of(cls, job: Job) -> Layout:
        """As the recipe has it."""
        return cls(one_row(job.recipe), job.recipe.backend == "unsloth")


class Answers(NamedTuple):
    """The tokens of the answers of a batch, one answer after the other."""

    log_p: Any
    logits: Any
    counts: list[int]
    """Tokens of each."""

    @property
    def means(self) -> Any:
        """The mean log-probability of each answer's tokens."""
        import torch

        return torch.stack([one.mean() for one in self.log_p.split(self.counts)])


def answers(model: Any, ids: Any, seen: Any, labels: Any, layout: Layout) -> Answers:
    """What a model says of the answers in padded rows: ids, what is no padding, labels."""
    import torch

    following = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
    learned = following != IGNORED
    seen = seen.bool()
    if layout.one_row:
        places = learned[seen][None]
        fed = {"input_ids": ids[seen][None], "position_ids": (seen.cumsum(-1) - 1)[seen][None]}
        if layout.told:
            fed["packed_seq_lengths"] = seen.sum(-1).int()
    else:
        places, fed = learned, {"input_ids": ids, "attention_mask": seen.long()}
    at = places.any(0).nonzero()[:, 0]
    logits = model(**fed, use_cache=False, logits_to_keep=at).logits
    kept = logits[:, at] if logits.shape[1] > len(at) else logits
    kept = kept[places[:, at]].float()
    right = kept.gather(-1, following[learned][:, None])[:, 0]
    return Answers(right - torch.logsumexp(kept, -1), kept, learned.sum(-1).tolist())


def _trainer_class(layout: Layout) -> Any:
    from trl.experimental.orpo import ORPOTrainer

    class Pretokenized(ORPOTrainer):  # type: ignore[misc]
        """Defined here because its base class comes with torch, which also decides these methods'
        arguments.
        """

        def tokenize_row(self, feature: Any, model: Any = None) -> Any:  # noqa: ARG002
            return feature

        def concatenated_forward(self, model: Any, batch: Any) -> Any:
            """Mean log-probability of each answer, the logits behind them, and the likelihood term
            over chosen answers.
            """
            both = self.concatenated_inputs(
                batch, padding_value=self.padding_value, device=self.accelerator.device
            )
            ids, seen = both["concatenated_input_ids"], both["concatenated_attention_mask"]
            found = answers(model, ids, seen, both["concatenated_labels"].to(ids.device), layout)
            if model.training:  # TRL's batches have no `input_ids` for the trainer to count
                fed = int(seen.sum()) if layout.one_row else ids.numel()
                self.state.num_input_tokens_seen += fed
            half = len(ids) // 2
            chosen = sum(found.counts[:half])
            logits = found.logits[:chosen], found.logits[chosen:]
            return found.means[:half], found.means[half:], *logits, -found.log_p[:chosen].mean()

    return Pretokenized
