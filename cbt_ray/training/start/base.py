"""What training starts from: a Hugging Face folder with 32- or 16-bit weights, made of a GGUF where it is one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.llm.gguf_file import check_gguf, load_gguf_path
from cbt_ray.llm.template import ChatTemplate
from cbt_ray.store.store import sha256_of
from cbt_ray.training.links import link_others
from cbt_ray.training.start.four_bit import is_four_bit, widen
from cbt_ray.training.start.licence_text import licence_texts
from cbt_ray.training.start.unpack import unpack

_WEIGHTS = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@dataclass(frozen=True)
class Base:
    """A model to train: its folder, the SHA-256 of what it was made of, its template and its special tokens' ids."""

    folder: Path
    digest: str
    template: ChatTemplate
    bos_id: int | None
    eos_id: int
    pad_id: int
    licences: tuple[Path, ...] = ()
    """Texts that came with it."""

    @cached_property
    def tokenizer(self) -> FileTokenizer:
        """The folder's tokenizer."""
        return FileTokenizer(self.folder / "tokenizer.json")


class FileTokenizer:
    """A `tokenizer.json`; adds no special tokens."""

    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(file))

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids, and the characters that each stands for."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def id_of(self, token: str) -> int | None:
        """The id of one token, None where the vocabulary lacks it."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found


def open_base(start: str, work: Path, template: str | None = None) -> Base:
    """The model behind a recipe's `start` or `compare`: `package:NAME/FILE.gguf`, a GGUF, or a Hugging Face folder.

    A GGUF, or a folder whose weights are stored in 4 bit, is written out once into `work/base/`, under its SHA-256, so training
    and exports share it. `template` takes the place of the model's own chat template, in training and in all that is exported.
    """
    folder, digest = _opened(start, work)
    if template is not None:
        folder = _with_template(folder, template, work / "base" / f"{digest[:16]}-template")
    return replace(_read(folder, digest), licences=licence_texts(start, folder))


def _opened(start: str, work: Path) -> tuple[Path, str]:
    path = load_gguf_path(start)
    if path.is_dir():
        four_bit, digest = is_four_bit(path), _digest(path)
        return (_made(path, work / "base" / f"{digest[:16]}-f16", widen) if four_bit else path), digest
    if path.suffix != ".gguf":
        raise InputError(f"start: {start!r}: expected package:NAME/FILE.gguf, a GGUF file or a Hugging Face folder")
    digest = sha256_of(check_gguf(path))
    return _made(path, work / "base" / digest[:16], unpack), digest


def _with_template(source: Path, template: str, folder: Path) -> Path:
    """A folder of links to the model's files, with another chat template."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    link_others(source, folder, {"chat_template.jinja", "tokenizer_config.json"})
    config = json.loads((source / "tokenizer_config.json").read_bytes())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False))
    (folder / "chat_template.jinja").write_bytes(template.encode())
    return folder


def _made(source: Path, folder: Path, make: Callable[[Path, Path], None]) -> Path:
    """A folder that is made of `source` once, beside and renamed: where it is there it is whole."""
    if not folder.exists():
        beside = folder.with_name(f".{folder.name}")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        make(source, beside)
        beside.rename(folder)
    return folder


def _read(folder: Path, digest: str) -> Base:
    """Read template and special tokens, and refuse a folder where they are missing: a model without an end never stops."""
    file = folder / "tokenizer_config.json"
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: expected a tokenizer's settings ({error})") from error
    template = ChatTemplate(_template(folder, config), _token(config, "bos_token") or "", _token(config, "eos_token") or "")
    tokenizer = FileTokenizer(folder / "tokenizer.json")
    eos = tokenizer.id_of(template.eos) if template.eos else None
    if eos is None:
        raise InputError(f"{file}: eos_token: expected a token of the vocabulary, not {template.eos!r}")
    pad = tokenizer.id_of(_token(config, "pad_token") or template.eos)
    bos = tokenizer.id_of(template.bos) if template.bos else None
    return Base(folder, digest, template, bos, eos, eos if pad is None else pad)


def _template(folder: Path, config: dict[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    source = file.read_bytes().decode() if file.exists() else config.get("chat_template")
    if not isinstance(source, str) or not source:
        raise InputError(f"{folder}: chat_template: expected a chat template; a base model without one cannot be a therapist")
    return source


def _token(config: dict[str, Any], name: str) -> str | None:
    value = config.get(name)
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _digest(folder: Path) -> str:
    """SHA-256 over names and SHA-256 of the files that make the model."""
    import hashlib

    files = sorted({file for pattern in _WEIGHTS for file in folder.glob(pattern)})
    lines = "".join(f"{file.name} {sha256_of(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
