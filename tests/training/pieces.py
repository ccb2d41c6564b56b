"""A tiny model with a SentencePiece vocabulary, as Mistral has one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.training.sessions import PAIRS, SYSTEM

TEMPLATE = (
    "{{ bos_token }}{% for one in messages[1:] %}{% if one.role == 'user' %}"
    "{{ '[INST]' + (messages[0].content + '\n\n' if loop.first else '') + one.content + '[/INST]' "
    "}}"
    "{% else %}{{ ' ' + one.content + eos_token }}{% endif %}{% endfor %}"
)
FIRST = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, REPLACE]}
TEXT = tuple(said for pair in (*PAIRS, (SYSTEM, "maybe 4.5 at 2 am")) for said in pair) * 5


def write_model(
    folder: Path, config: dict[str, Any], text: Sequence[str] = TEXT, vocabulary: int = 420
) -> None:
    """Random weights of a small shape and a vocabulary of a few sentences.

    `write_tokenizer` makes it whole.
    """
    import sentencepiece
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=vocabulary,
        model_type="bpe",
        byte_fallback=True,
        control_symbols=["[INST]", "[/INST]"],
        hard_vocab_limit=False,
        minloglevel=2,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    own = {
        "vocab_size": pieces.vocab_size(),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    torch.manual_seed(5)
    LlamaForCausalLM(LlamaConfig(**{**config, **own})).save_pretrained(folder)
    settings = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "add_prefix_space": True,
        "tokenizer_class": "LlamaTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def write_tokenizer(
    folder: Path, normalizer: dict[str, Any] | None, pre_tokenizer: dict[str, Any] | None
) -> None:
    """The SentencePiece file as tokenizer.json: all ways of putting two pieces together, the
    likeliest first.
    """
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    ids = {pieces.id_to_piece(number): number for number in range(pieces.vocab_size())}
    pairs = [
        (-pieces.get_score(number), ids[piece[:at]], ids[piece[at:]], f"{piece[:at]} {piece[at:]}")
        for piece, number in ids.items()
        for at in range(1, len(piece))
        if not piece.startswith(("<", "[")) and piece[:at] in ids and piece[at:] in ids
    ]
    special = [
        {
            "id": ids[name],
            "content": name,
            "special": True,
            "normalized": False,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
        }
        for name in ("<unk>", "<s>", "</s>", "[INST]", "[/INST]")
    ]
    model_of = {
        "type": "BPE",
        "vocab": ids,
        "merges": [pair for *_, pair in sorted(pairs)],
        "unk_token": "<unk>",
    }
    own = {"model": {**model_of, "byte_fallback": True, "fuse_unk": True}, "added_tokens": special}
    made = {"version": "1.0", "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, **own}
    (folder / "tokenizer.json").write_text(json.dumps(made, ensure_ascii=False))
