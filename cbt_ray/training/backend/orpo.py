"""Training on preference pairs (ORPO, Hong et al.

2024, arXiv 2403.07691): TRL's trainer with our tokens and our labels.

TRL's own tokenization adds BOS and EOS and cuts what is too long, and its likelihood term counts
the conversation, too. Here rows come as they were masked, and both terms see the answers only.
Logits are made at the answers' places and nowhere else.
"""

from __future__ import annotations

from typing import Any

from cbt_ray.training.backend.arguments import orpo_arguments
from cbt_ray.training.backend.job import Job
from cbt_ray.training.mask import IGNORED, Window
from cbt_ray.training.preference import Pair


def orpo_trainer(model: Any, job: Job, tokenizer: Any, callback: Any) -> Any:
    """TRL's ORPOTrainer, fed with pairs that are tokens already."""
    from datasets import Dataset

    trainer = _trainer_class()(
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


def _trainer_class() -> Any:
    import torch
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
            labels = both["concatenated_labels"][:, 1:].to(ids.device)
            at = (labels != IGNORED).any(0).nonzero()[:, 0]
            logits = model(
                input_ids=ids, attention_mask=seen, use_cache=False, logits_to_keep=at
            ).logits.float()
            if model.training:  # TRL's batches have no `input_ids` for the trainer to count
                self.state.num_input_tokens_seen += ids.numel()
            labels, half = labels[:, at], len(ids) // 2
            counted = labels != IGNORED
            right = logits.gather(-1, labels.masked_fill(~counted, 0)[..., None])[..., 0]
            log_p = (right - torch.logsumexp(logits, -1)) * counted
            mean = log_p.sum(-1) / counted.sum(-1)
            likelihood = -log_p[:half].sum() / counted[:half].sum()
            return mean[:half], mean[half:], logits[:half], logits[half:], likelihood

    return Pretokenized
