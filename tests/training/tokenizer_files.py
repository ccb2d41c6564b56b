"""The files of a tokenizer, small, with the control tokens that models of the field have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SPECIAL = (
    *(
        "<s>",
        "</s>",
        "<eos>",
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|end|>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
    ),
    *("<start_of_turn>", "<end_of_turn>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tokenizer_files(
    folder: Path, template: Any, eos: str = "<|im_end|>", **saved: Any
) -> Path:
    """Tokenizer files without weights: byte-level BPE without merges."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(
        models.BPE(vocab={one: number for number, one in enumerate(sorted(letters))}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(one, special=True, normalized=False) for one in SPECIAL]
    )
    (folder / "tokenizer.json").write_text(json.dumps({**json.loads(tokenizer.to_str()), **saved}))
    if not (folder / "config.json").exists():
        (folder / "config.json").write_text("{}")
    config = {"bos_token": "<s>", "eos_token": eos, "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
