"""What training starts from: a Hugging Face folder with 32- or 16-bit weights, made of a GGUF where
it is one.
"""

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
from cbt_ray.reading import read_json, read_text
from cbt_ray.store.store import sha256_of
from cbt_ray.study.study import TODAY
from cbt_ray.training.links import link_others
from cbt_ray.training.start.four_bit import is_four_bit, widen
from cbt_ray.training.start.licence_text import licence_texts
from cbt_ray.training.start.tokenizer import FileTokenizer
from cbt_ray.training.start.unpack import unpack

_JINJA, _ALONE = "chat_template.jinja", "chat_template.json"
_WEIGHTS = ("*.safetensors", "config.json", "tokenizer*", _JINJA, _ALONE)


@dataclass(frozen=True)
class Base:
    """A model to train: its folder, the SHA-256 of what it was made of, its template and its
    special tokens' ids.
    """

    folder: Path
    digest: str
    template: ChatTemplate
    bos_id: int | None
    eos_id: int
    pad_id: int
    turn_end_id: int | None = None
    """Of what ends the assistant's turn, where that is another token than `eos`."""
    licences: tuple[Path, ...] = ()
    """Texts that came with it."""

    @property
    def end_id(self) -> int:
        """Of what ends the assistant's turn."""
        return self.eos_id if self.turn_end_id is None else self.turn_end_id

    @cached_property
    def tokenizer(self) -> FileTokenizer:
        """The folder's tokenizer."""
        return FileTokenizer(self.folder / "tokenizer.json")


def open_base(
    start: str,
    work: Path,
    template: str | None = None,
    *,
    turn_end: str | None = None,
    today: str = TODAY.isoformat(),
) -> Base:
    """A recipe's `start` or `compare`: `package:NAME/FILE.gguf`, a GGUF, or a
    Hugging Face folder.

    A GGUF, or a folder whose weights are stored in 4 bit, is written out once into `work/base/`,
    under its SHA-256, so training and exports share it. `template` takes the place of the model's
    own chat template, in training and in all that is exported;
    `turn_end` says what ends a turn, `today` is the date that a template is told.
    """
    folder, digest = _opened(start, work)
    config = _tokenizer_config(folder)
    source = template or _template(folder, config)
    if template is not None or not _is_found_by_others(folder, config, source):
        folder = _with_template(folder, source, work / "base" / f"{digest[:16]}-template")
    return replace(
        read_base(folder, digest, turn_end=turn_end, today=today),
        licences=licence_texts(start, folder),
    )


def _opened(start: str, work: Path) -> tuple[Path, str]:
    path = load_gguf_path(start)
    if path.is_dir():
        four_bit, digest = is_four_bit(path), _digest(path)
        return (
            _made(path, work / "base" / f"{digest[:16]}-f16", widen) if four_bit else path
        ), digest
    if path.suffix != ".gguf":
        raise InputError(
            f"start: {start!r}: expected package:NAME/FILE.gguf, a GGUF file or a Hugging Face "
            "folder"
        )
    digest = sha256_of(check_gguf(path))
    return _made(path, work / "base" / digest[:16], unpack), digest


def _with_template(source: Path, template: str, folder: Path) -> Path:
    """A folder of links to the model's files, with a chat template where every reader finds it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    link_others(source, folder, {_JINJA, _ALONE, "tokenizer_config.json"})
    config = _tokenizer_config(source)
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False))
    (folder / _JINJA).write_bytes(template.encode())
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


def read_base(
    folder: Path,
    digest: str,
    template: str | None = None,
    *,
    turn_end: str | None = None,
    today: str = TODAY.isoformat(),
) -> Base:
    """Read template and special tokens, and refuse a folder where they are missing: a model without
    an end never stops.

    Reads no weights.
    """
    config, file = _tokenizer_config(folder), folder / "tokenizer_config.json"
    bos, eos = _token(config, "bos_token") or "", _token(config, "eos_token") or ""
    tokenizer = FileTokenizer(folder / "tokenizer.json")
    eos_id = tokenizer.id_of(eos) if eos else None
    if eos_id is None:
        raise InputError(f"{file}: eos_token: expected a token of the vocabulary, not {eos!r}")
    chat = ChatTemplate(
        template or _template(folder, config), bos, eos, turn_end or "", today
    ).with_end(tokenizer.control)
    end_id = tokenizer.id_of(chat.end)
    if end_id is None:
        raise InputError(f"turn_end: expected a token of the vocabulary, not {chat.end!r}")
    pad = tokenizer.id_of(_token(config, "pad_token") or eos)
    bos_id = tokenizer.id_of(bos) if bos else None
    return Base(folder, digest, chat, bos_id, eos_id, eos_id if pad is None else pad, end_id)


def _tokenizer_config(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    config = read_json(file)
    if not isinstance(config, dict):
        raise InputError(f"{file}: expected a tokenizer's settings, an object")
    return config


def _template(folder: Path, config: dict[str, Any]) -> str:
    """The model's own chat template: a file of it, or in the tokenizer's settings, perhaps one of
    several by name.
    """
    found: Any = config.get("chat_template")
    if (folder / _ALONE).exists():
        alone = read_json(folder / _ALONE)
        found = alone.get("chat_template") if isinstance(alone, dict) else alone
    if (folder / _JINJA).exists():
        found = read_text(folder / _JINJA)
    if isinstance(found, list):
        found = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
    if isinstance(found, dict):
        names = sorted(map(str, found))
        found = found.get("default", next(iter(found.values())) if len(found) == 1 else None)
        if found is None:
            raise InputError(
                f"{folder}: chat_template: expected one named `default` among "
                f"{', '.join(names)[:200]}"
            )
    if not isinstance(found, str) or not found.strip():
        raise InputError(
            f"{folder}: chat_template: expected a chat template; a base model without one cannot "
            "be a therapist; "
            "give one (`chat_template:` in the recipe)"
        )
    return found


def _is_found_by_others(folder: Path, config: dict[str, Any], template: str) -> bool:
    """Whether transformers and a converter take the same template, and none that lies beside it."""
    return not (folder / _ALONE).exists() and config.get("chat_template", template) == template


def _token(config: dict[str, Any], name: str) -> str | None:
    value = config.get(name)
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _digest(folder: Path) -> str:
    """SHA-256 over names and SHA-256 of the files that make the model."""
    import hashlib

    files = sorted(
        {file for pattern in _WEIGHTS for file in folder.glob(pattern) if file.is_file()}
    )
    lines = "".join(f"{file.name} {sha256_of(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
