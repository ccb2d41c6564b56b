"""What `cbt-ray weights` and `data` bring, loaded as those load it who never heard of this project:
transformers, PEFT, gguf-py, datasets, the hub's reader of cards, and coreutils.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from cbt_ray.training.environment import settle
from cbt_ray.training.start.base import open_base

ASKED = [{"role": "system", "content": "Be warm."}, {"role": "user", "content": "I slept badly."}]


def check_loaded(folder: Path, start: str, work: Path) -> None:
    """`folder`: a tuned model's files; `start`: what it was trained from."""
    settle()
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    check_weights(folder, open_base(start, work).folder)
    check_gguf(next(folder.glob("*.gguf")))
    for card in (folder / "README.md", folder / "adapter" / "README.md"):
        check_card(card)


def check_weights(folder: Path, base: Path) -> None:
    """The merged model says what the adapter says on its base, and the base something else."""
    from peft import PeftModel
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "safetensors")
    asked = tokenizer.apply_chat_template(
        ASKED, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    merged, plain = (said(load(one), asked) for one in (folder / "safetensors", base))
    adapted = said(PeftModel.from_pretrained(load(base), folder / "adapter").eval(), asked)
    assert divergence(adapted, merged) < 1e-4
    assert divergence(adapted, merged) < divergence(adapted, plain) / 10


def load(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def said(model: Any, tokens: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(tokens).logits[0].log_softmax(-1)


def divergence(expected: Any, found: Any) -> float:
    return float((expected.exp() * (expected - found)).sum(-1).mean())


def check_gguf(file: Path) -> None:
    from gguf import GGUFReader

    told = {name: field.contents() for name, field in GGUFReader(file).fields.items()}
    assert told["general.license"] == "apache-2.0"
    assert told["general.languages"] == ["en"]
    assert told["general.base_model.count"] == 1
    assert "{%" in told["tokenizer.chat_template"]


def check_card(file: Path) -> None:
    from huggingface_hub import ModelCard

    data = ModelCard.load(file).data
    assert data.license == "apache-2.0"
    assert "not-for-clinical-use" in data.tags


def check_data(folder: Path) -> None:
    """By its own card, which names the splits."""
    from datasets import load_dataset

    found = load_dataset(str(folder), cache_dir=str(folder.parent / "cache"))
    lines = {name: (folder / f"{name}.jsonl").read_text().count("\n") for name in found}
    assert {"train", "held_out"} <= set(found)
    assert {name: len(split) for name, split in found.items()} == lines
