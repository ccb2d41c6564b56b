"""A SentencePiece vocabulary, as Mistral has one: llama.cpp and training's tokenizer put spaces in the same places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.llm.request import Message
from cbt_ray.training.export import gguf
from cbt_ray.training.export.gguf import convert, convert_vocabulary
from cbt_ray.training.export.merge import merge
from cbt_ray.training.export.space import space_in_front
from cbt_ray.training.gate.gate import foresee, gate
from cbt_ray.training.start.base import Base, open_base
from tests.training.conftest import TINY
from tests.training.sessions import PAIRS, SYSTEM

pytestmark = [pytest.mark.train, pytest.mark.llama]
TEMPLATE = (
    "{{ bos_token }}{% for one in messages[1:] %}{% if one.role == 'user' %}"
    "{{ '[INST]' + (messages[0].content + '\n\n' if loop.first else '') + one.content + '[/INST]' }}"
    "{% else %}{{ ' ' + one.content + eos_token }}{% endif %}{% endfor %}"
)
FIRST = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, REPLACE]}
ASKED = [[Message("system", SYSTEM), Message("user", said)] for said, _ in PAIRS]


def _tokenizer(model: Path, normalizer: dict[str, Any] | None, pre_tokenizer: dict[str, Any] | None) -> dict[str, Any]:
    """A SentencePiece file as tokenizer.json: all ways of putting two pieces together, the likeliest first."""
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(model))
    ids = {pieces.id_to_piece(number): number for number in range(pieces.vocab_size())}
    pairs = [
        (-pieces.get_score(number), ids[piece[:at]], ids[piece[at:]], f"{piece[:at]} {piece[at:]}")
        for piece, number in ids.items()
        for at in range(1, len(piece))
        if not piece.startswith(("<", "[")) and piece[:at] in ids and piece[at:] in ids
    ]
    special = [{"id": ids[name], "content": name, "special": True, "normalized": False, "single_word": False, "lstrip": False,
                "rstrip": False} for name in ("<unk>", "<s>", "</s>", "[INST]", "[/INST]")]  # fmt: skip
    model_of = {"type": "BPE", "vocab": ids, "merges": [pair for *_, pair in sorted(pairs)], "unk_token": "<unk>"}
    own = {"model": {**model_of, "byte_fallback": True, "fuse_unk": True}, "added_tokens": special}
    return {"version": "1.0", "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, **own}


@pytest.fixture(scope="module")
def model(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with such a vocabulary, but for its tokenizer.json."""
    import sentencepiece
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("pieces")
    text = [said for pair in (*PAIRS, (SYSTEM, "maybe 4.5 at 2 am")) for said in pair] * 5
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_prefix=str(folder / "tokenizer"), vocab_size=420, model_type="bpe",
        byte_fallback=True, control_symbols=["[INST]", "[/INST]"], hard_vocab_limit=False, minloglevel=2,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    config = {**json.loads((base.folder / "config.json").read_text()), **TINY, "head_dim": 16, "vocab_size": pieces.vocab_size()}
    torch.manual_seed(5)
    LlamaForCausalLM(LlamaConfig(**{**config, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})).save_pretrained(folder)
    settings = {"bos_token": "<s>", "eos_token": "</s>", "add_prefix_space": True, "tokenizer_class": "LlamaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def _base(model: Path, normalizer: dict[str, Any] | None, pre_tokenizer: dict[str, Any] | None, work: Path) -> Base:
    made = _tokenizer(model / "tokenizer.model", normalizer, pre_tokenizer)
    (model / "tokenizer.json").write_text(json.dumps(made, ensure_ascii=False))
    return open_base(str(model), work)


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "expected"),
    [
        (None, FIRST, False),
        (None, {**FIRST, "prepend_scheme": "always"}, True),
        (PREPEND, None, True),
    ],
)
def test_both_make_the_same_tokens(
    model: Path, tmp_path: Path, normalizer: dict[str, Any] | None, pre_tokenizer: dict[str, Any] | None, expected: bool
) -> None:
    base = _base(model, normalizer, pre_tokenizer, tmp_path)
    assert space_in_front(model / "tokenizer.json") is expected
    foresee(base, ASKED, convert_vocabulary(base.folder, tmp_path / "v.gguf", 1), 1)


def test_what_the_settings_say_would_be_refused_before_training(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the converter reads the folder by itself."""
    base = _base(model, None, FIRST, tmp_path)
    monkeypatch.setattr(gguf, "space_in_front", lambda _file: None)
    vocabulary = convert_vocabulary(base.folder, tmp_path / "v.gguf", 1)
    with pytest.raises(
        InputError, match=r"no training would pass the parity gate \(tokens: expected llama.cpp tokenizes"
    ) as error:
        foresee(base, ASKED, vocabulary, 1)
    assert "template:" not in str(error.value)


def test_a_plain_text_begins_with_a_space_that_llama_cpp_leaves_out(model: Path, tmp_path: Path) -> None:
    """What llama.cpp cannot do, and what is said of it before training."""
    base = _base(model, None, FIRST, tmp_path)
    vocabulary = convert_vocabulary(base.folder, tmp_path / "v.gguf", 1)
    with pytest.raises(InputError, match=r"no training would pass the parity gate \(tokens: expected"):
        foresee(base, ["Be a therapist."], vocabulary, 1)


def test_such_a_model_passes_its_gate(model: Path, tmp_path: Path) -> None:
    """The folder that others read keeps its settings, and nothing is left beside it."""
    base = _base(model, None, FIRST, tmp_path)
    merged = merge(base, None, tmp_path / "merged")
    f16 = convert(merged, tmp_path / "model.gguf", "f16", 1).path
    assert gate(base, None, merged, f16, f16, ASKED, 1, tuned=False).failed == ()
    assert json.loads((merged / "tokenizer_config.json").read_text())["add_prefix_space"] is True
    assert {file.name for file in tmp_path.iterdir()} == {"merged", "model.gguf"}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"normalizer": REPLACE}, False),
        ({"pre_tokenizer": {**FIRST, "prepend_scheme": "never"}}, False),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": False}}, False),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}}, True),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, FIRST]}}, False),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, None),
    ],
)
def test_where_the_space_is_said(part: dict[str, Any], expected: bool | None, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"normalizer": None, "pre_tokenizer": None, **part}))
    assert space_in_front(tmp_path / "tokenizer.json") is expected


def test_another_kind_of_tokenizer_is_left_as_it_is(base: Base, tmp_path: Path) -> None:
    assert space_in_front(base.folder / "tokenizer.json") is None
    assert space_in_front(tmp_path / "none.json") is None
