"""A Hugging Face folder as a GGUF, by the converter of the same llama.cpp that will run it, and what is checked of the result."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.store.store import sha256_of
from cbt_ray.training.base import Base

CONVERTER = "CBT_RAY_CONVERTER"
"""Environment variable that names another convert_hf_to_gguf.py than the one pinned beside this Python."""
LIMIT = 160
"""Tokens within which a therapist's turn has to end."""
_FOREIGN = ("<|", "[INST]", "### ")
"""What no therapist says: pieces of chat templates."""


@dataclass(frozen=True)
class Gguf:
    """A finished GGUF and its SHA-256."""

    path: Path
    sha256: str


def convert(folder: Path, target: Path, quantization: str, threads: int) -> Gguf:
    """Convert a Hugging Face folder; the file appears whole or not at all."""
    beside = target.with_name(f".{target.name}")
    arguments = [str(folder), "--outtype", quantization, "--outfile", str(beside), "--model-name", "cbt-ray"]
    done = subprocess.run(
        [sys.executable, str(_converter()), *arguments], env=_environment(threads), capture_output=True, text=True, check=False
    )
    if done.returncode:
        beside.unlink(missing_ok=True)
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise InputError(f"{folder}: expected a model that llama.cpp's converter takes ({lines[-1]})")
    beside.replace(target)
    return Gguf(target, sha256_of(target))


def check(gguf: Path, base: Base, prompts: Sequence[str], threads: int, *, answers: int) -> dict[str, Any]:
    """Checks in llama.cpp on rendered prompts: special ids and token ids as in training, and its answers to the first few.

    Other ids raise InputError, since such a model speaks to a prompt that it was not trained on; how it answers is only recorded.
    """
    with _loaded(gguf, base, prompts, threads) as model:
        result: dict[str, Any] = {"prompt_parity": _parity(gguf, model, base, prompts)}
        if answers:
            result["stops_by_itself"] = _stops(model, base, prompts[:answers])
    return result


def _converter() -> Path:
    path = Path(os.environ.get(CONVERTER) or Path(sys.prefix) / "llama.cpp" / "convert_hf_to_gguf.py")
    if not path.is_file():
        raise InputError(f"{path}: expected llama.cpp's converter; `make` puts it there, {CONVERTER} names another")
    return path


def _environment(threads: int) -> dict[str, str]:
    """The converter finds its own gguf-py beside itself; a PYTHONPATH could only put another in front."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "NO_LOCAL_GGUF")}
    return {**kept, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": str(threads)}


@contextlib.contextmanager
def _loaded(gguf: Path, base: Base, prompts: Sequence[str], threads: int) -> Iterator[Any]:
    from llama_cpp import Llama

    longest = max((len(base.tokenizer.encode(prompt)[0]) for prompt in prompts), default=0)
    try:
        model = Llama(str(gguf), n_ctx=longest + LIMIT, n_threads=threads, n_threads_batch=threads, verbose=False)
    except ValueError as error:
        raise InputError(f"{gguf}: expected a GGUF that llama.cpp loads ({error})") from error
    try:
        yield model
    finally:
        model.close()


def _parity(gguf: Path, model: Any, base: Base, prompts: Sequence[str]) -> dict[str, Any]:
    if model.metadata.get("tokenizer.chat_template") != base.template.source:
        raise InputError(f"{gguf}: chat template: expected the one of training, to the byte")
    found, expected = {"eos": model.token_eos()}, {"eos": base.eos_id}
    if base.bos_id is not None:
        found["bos"], expected["bos"] = model.token_bos(), base.bos_id
    for name, value in expected.items():
        if found[name] != value:
            raise InputError(f"{gguf}: {name}: expected {value!r}, as in training, not {found[name]!r}")
    for number, prompt in enumerate(prompts, 1):
        if model.tokenize(prompt.encode(), add_bos=False, special=True) != base.tokenizer.encode(prompt)[0]:
            raise InputError(f"{gguf}: expected that llama.cpp tokenizes as training did; prompt {number} differs")
    return {"prompts": len(prompts), "equal": True}


def _stops(model: Any, base: Base, prompts: Sequence[str]) -> dict[str, Any]:
    """How many answers end by themselves within LIMIT tokens, and how many hold pieces of a template."""
    lengths, stopped, leaked = [], 0, 0
    for number, prompt in enumerate(prompts):
        ids, ended = _answer(model, base.tokenizer.encode(prompt)[0], seed=number)
        text = model.detokenize(ids, special=True).decode(errors="replace")
        lengths.append(len(ids))
        stopped += ended
        leaked += any(piece in text for piece in _FOREIGN)
    return {"prompts": len(prompts), "stopped": stopped, "leaked": leaked, "limit": LIMIT, "tokens": lengths}


def _answer(model: Any, prompt: list[int], seed: int) -> tuple[list[int], bool]:
    """The tokens of one answer without its end, and whether it ended by itself."""
    import llama_cpp

    made: list[int] = []
    model.set_seed(seed)
    model.reset()
    for token in model.generate(prompt, temp=0.7, top_p=0.95, top_k=40, repeat_penalty=1.1):
        if llama_cpp.llama_vocab_is_eog(model._model.vocab, token):
            return made, True
        made.append(token)
        if len(made) == LIMIT:
            break
    return made, False
