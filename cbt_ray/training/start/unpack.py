"""A GGUF of the llama architecture as a Hugging Face folder: fp32 weights, settings, tokenizer and
chat template.

Written out here rather than left to transformers, which (5.17) reads the special tokens wrong,
saves a tokenizer that llama.cpp's converter takes for a sentencepiece one (the tuned model is then
fed other tokens than it learned) and takes half a minute.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.llm.gguf_header import read_header

_VOCABULARY = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")
_EXPECTED = {
    "general.architecture": "llama",
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
}
_CONTROL, _USER_DEFINED = 3, 4
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}


def unpack(gguf: Path, folder: Path) -> None:
    """Write the model of a GGUF into an empty folder.

    Raises InputError where it is of another kind.
    """
    from gguf import GGUFReader

    metadata = metadata_of(gguf)
    with _whole(gguf):
        tensors = GGUFReader(gguf).tensors
        config = _config(metadata, tied=all(tensor.name != "output.weight" for tensor in tensors))
        _write_json(folder / "config.json", config)
    write_tokenizer(gguf, metadata, folder)
    with _whole(gguf):
        _write_weights(tensors, config, folder)


def metadata_of(gguf: Path) -> dict[str, Any]:
    """The metadata of a GGUF that can be unpacked, with its vocabulary.

    Raises InputError where it cannot; reads no weights.
    """
    header = read_header(gguf, _VOCABULARY)
    for field, value in _EXPECTED.items():
        if header.metadata.get(field) != value:
            found = str(header.metadata.get(field))[:40]
            raise InputError(
                f"{gguf}: {field}: expected {value!r}, not {found!r}; give the model's Hugging "
                "Face folder instead"
            )
    if header.parts > 1:
        raise InputError(
            f"{gguf}: expected a model in one file, not in {header.parts}; llama.cpp's "
            "llama-gguf-split merges them"
        )
    for field in ("tokenizer.chat_template", "tokenizer.ggml.eos_token_id"):
        if field not in header.metadata:
            raise InputError(
                f"{gguf}: {field}: expected a value; without it the tuned model never stops"
            )
    return header.metadata


@contextmanager
def _whole(gguf: Path) -> Iterator[None]:
    """What a value that is absent, or of another kind, leads to in Python, as one line."""
    try:
        yield
    except KeyError as error:
        raise InputError(f"{gguf}: {error.args[0]}: expected a value") from None
    except (
        ValueError,
        TypeError,
        IndexError,
        AttributeError,
        ZeroDivisionError,
        OverflowError,
    ) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"{gguf}: expected the metadata and weights of a llama model ({said})"
        ) from None


def _config(metadata: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    heads = metadata["llama.attention.head_count"]
    hidden = metadata["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.get("llama.attention.head_count_kv", heads),
        "head_dim": metadata.get("llama.rope.dimension_count", hidden // heads),
        "max_position_embeddings": metadata["llama.context_length"],
        "rms_norm_eps": metadata["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": metadata.get("llama.rope.freq_base", 10000.0),
        },
        "tie_word_embeddings": tied,
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": _pad(metadata),
    }


def _pad(metadata: dict[str, Any]) -> int:
    return int(
        metadata.get("tokenizer.ggml.padding_token_id", metadata["tokenizer.ggml.eos_token_id"])
    )


def write_tokenizer(gguf: Path, metadata: dict[str, Any], folder: Path) -> None:
    """Tokenizer, its settings and the chat template, into a folder.

    Raises InputError where the metadata hold no whole one.
    """
    try:
        with _whole(gguf):
            _write_tokenizer(metadata, folder)
    except InputError:
        raise
    except Exception as error:  # the library raises nothing more exact
        raise InputError(
            f"{gguf}: expected a vocabulary with its merges ({' '.join(str(error).split())[:200]})"
        ) from None


def _write_tokenizer(metadata: dict[str, Any], folder: Path) -> None:
    """Byte-level BPE that splits digits, with the special tokens that the metadata name."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    kinds = metadata["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ", 1)) for pair in metadata["tokenizer.ggml.merges"]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=False))
    split = [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind in zip(tokens, kinds, strict=True):
        if kind in (_CONTROL, _USER_DEFINED):
            tokenizer.add_tokens([AddedToken(token, special=kind == _CONTROL, normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_bytes(metadata["tokenizer.chat_template"].encode())
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(metadata, tokens))


def _tokenizer_config(metadata: dict[str, Any], tokens: list[str]) -> dict[str, Any]:
    bos, unknown = (
        metadata.get("tokenizer.ggml.bos_token_id"),
        metadata.get("tokenizer.ggml.unknown_token_id"),
    )
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None if bos is None else tokens[bos],
        "eos_token": tokens[metadata["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[_pad(metadata)],
        "unk_token": None if unknown is None else tokens[unknown],
        "add_bos_token": metadata.get("tokenizer.ggml.add_bos_token", False),
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata["llama.context_length"],
    }


def _write_weights(tensors: list[Any], config: dict[str, Any], folder: Path) -> None:
    import numpy
    from gguf.quants import dequantize
    from safetensors.numpy import save_file

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = {}
    for tensor in tensors:
        layer, part = _part(tensor.name)
        values = dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32, copy=False)
        if part in heads:
            values = _unpermute(values, heads[part])
        weights[f"{layer}{_NAMES[part]}.weight"] = numpy.ascontiguousarray(values)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _part(name: str) -> tuple[str, str]:
    """`blk.3.attn_q.weight` -> (`model.layers.3.`, `attn_q`)."""
    match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.weight", name)
    if match is None or match[2] not in _NAMES:
        raise InputError(
            f"GGUF tensor {name}: expected a plain llama model; give the model's Hugging Face "
            "folder instead"
        )
    return (f"model.layers.{match[1]}." if match[1] else ""), match[2]


def _unpermute(values: Any, heads: int) -> Any:
    """Undo llama.cpp's order of rotary dimensions (pairs side by side) for Hugging Face's
    (halves).
    """
    rows = values.shape[0]
    return values.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows, -1)


def _write_json(file: Path, value: dict[str, Any]) -> None:
    file.write_bytes(json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")
