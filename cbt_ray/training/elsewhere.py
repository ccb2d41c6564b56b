"""Elsewhere: what comes with a dataset so that other programs load it without a question."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from cbt_ray.llm.template import ChatTemplate
from cbt_ray.study.recipe import Recipe, is_hub_id
from cbt_ray.training.dataset import NAMES
from cbt_ray.training.export.learned import learned_template

_SPLITS = NAMES[:2]
"""Trained on, and measured."""


def dataset_card(name: str, language: str, splits: Sequence[str]) -> bytes:
    """A README.md by which `datasets.load_dataset(FOLDER)` finds the splits.

    Without it the splits are guessed from names, and dataset.json is read as an example.
    """
    files = [{"split": split, "path": f"{split}.jsonl"} for split in splits]
    fields = {
        "language": [language],
        "task_categories": ["text-generation"],
        "tags": ["cbt-ray", "synthetic", "not-for-clinical-use"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return (
        f"---\n{yaml.safe_dump(fields, sort_keys=False)}---\n\n# {name}\n\n"
        "Sessions that a study with cbt-ray trains on. **They must not be used to treat, diagnose "
        "or advise anybody.**\n"
    ).encode()


@dataclass(frozen=True)
class Elsewhere:
    """A recipe as other trainers read it, beside a dataset of whole sessions."""

    name: str
    """Of the model, and of its folder."""
    recipe: Recipe
    splits: Sequence[str]
    """That have examples."""
    template: ChatTemplate | None = None
    """The model's; None: its tokenizer brings it."""

    def files(self) -> dict[str, bytes]:
        """By their paths beside the dataset, in whose folder they are started."""
        jinja = learned_template(self.template) if self.template else None
        texts = {"axolotl.yaml": self.axolotl(jinja), "llamafactory.yaml": self.llama_factory()}
        found = {name: (self._said() + _yaml(one)).encode() for name, one in texts.items()}
        found |= {"chat_template.jinja": jinja.encode()} if jinja else {}
        return {f"{self.name}/{name}": data for name, data in found.items()}

    def axolotl(self, jinja: str | None) -> dict[str, Any]:
        """For `axolotl train`."""
        recipe = self.recipe
        parts = [self._axolotl_part(split) for split in _SPLITS if split in self.splits]
        own = f"{self.name}/chat_template.jinja"
        warmup = recipe.warmup_steps
        of_template = {"chat_template": "jinja", "chat_template_jinja": own}
        return {
            "base_model": self._base,
            **({"revision_of_model": recipe.revision} if recipe.revision else {}),
            "adapter": "qlora" if recipe.load_4bit else "lora",
            "load_in_4bit": recipe.load_4bit,
            "lora_r": recipe.lora.r,
            "lora_alpha": recipe.lora.alpha,
            "lora_dropout": recipe.lora.dropout,
            "lora_target_modules": list(recipe.lora.targets),
            "datasets": parts[:1],
            **({"test_datasets": parts[1:]} if parts[1:] else {"val_set_size": 0}),
            **(of_template if jinja else {"chat_template": "tokenizer_default"}),
            **({"eot_tokens": [self.template.end]} if self.template else {}),
            "sequence_len": recipe.max_length,
            "sample_packing": False,
            "micro_batch_size": recipe.batch,
            "gradient_accumulation_steps": recipe.accumulation,
            **self._length("num_epochs"),
            "optimizer": recipe.optimizer,
            "learning_rate": recipe.learning_rate,
            "lr_scheduler": recipe.schedule,
            **({"warmup_ratio": warmup} if warmup % 1 else {"warmup_steps": int(warmup)}),
            "weight_decay": recipe.weight_decay,
            "gradient_checkpointing": True,
            "bf16": "auto",
            "seed": recipe.seed,
            "output_dir": f"{self.name}/axolotl",
        }

    def llama_factory(self) -> dict[str, Any]:
        """For `llamafactory-cli train`; the template is the tokenizer's."""
        recipe, held = self.recipe, "held_out" in self.splits
        return {
            "model_name_or_path": self._base,
            **({"model_revision": recipe.revision} if recipe.revision else {}),
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "lora_rank": recipe.lora.r,
            "lora_alpha": recipe.lora.alpha,
            "lora_dropout": recipe.lora.dropout,
            "lora_target": ",".join(recipe.lora.targets),
            **({"quantization_bit": 4, "quantization_method": "bnb"} if recipe.load_4bit else {}),
            "dataset_dir": ".",
            "dataset": "train",
            **({"eval_dataset": "held_out", "eval_strategy": "epoch"} if held else {}),
            "cutoff_len": recipe.max_length,
            "per_device_train_batch_size": recipe.batch,
            "gradient_accumulation_steps": recipe.accumulation,
            **self._length("num_train_epochs"),
            "optim": recipe.optimizer,
            "learning_rate": recipe.learning_rate,
            "lr_scheduler_type": recipe.schedule,
            "warmup_steps": recipe.warmup_steps,  # a share below 1
            "weight_decay": recipe.weight_decay,
            "bf16": True,
            "seed": recipe.seed,
            "output_dir": f"{self.name}/llamafactory",
            "report_to": "none",
        }

    @property
    def _base(self) -> str:
        return self.recipe.start if is_hub_id(self.recipe.start) else f"{self.name}/base"

    def _said(self) -> str:
        """What the reader has to do first."""
        said = "# The recipe of a study with cbt-ray. Start it in the dataset's folder.\n"
        if self._base != self.recipe.start:
            said += f"# Put the base model there: {self._base}\n"
        return said

    @staticmethod
    def _axolotl_part(split: str) -> dict[str, Any]:
        return {
            "path": f"{split}.jsonl",
            "ds_type": "json",
            "split": "train",  # the only one of a file
            "type": "chat_template",
            "field_messages": "messages",
            "message_property_mappings": {"role": "role", "content": "content"},
            "roles_to_train": ["assistant"],
            "train_on_eos": "turn",
        }

    def _length(self, epochs: str) -> Mapping[str, float | int]:
        steps = self.recipe.max_steps
        return {epochs: self.recipe.epochs} | ({"max_steps": steps} if steps else {})


def dataset_info(splits: Sequence[str]) -> bytes:
    """How LLaMA-Factory finds the splits."""
    columns = {"messages": "messages"}
    roles = {f"{role}_tag": role for role in ("system", "user", "assistant")}
    tags = {"role_tag": "role", "content_tag": "content", **roles}
    known = {
        split: {
            "file_name": f"{split}.jsonl",
            **{"formatting": "sharegpt", "columns": columns, "tags": tags},
        }
        for split in splits
    }
    return (json.dumps(known, indent=1) + "\n").encode()


def _yaml(fields: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(fields), sort_keys=False)
