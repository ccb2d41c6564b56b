"""The space that a SentencePiece tokenizer puts in front of a text, and whether it does so after a
special token, too.

`tokenizer.json` has it as a pre-tokenizer (Metaspace with `prepend_scheme`) or as a normalizer
(Prepend). llama.cpp knows two ways: in front of every piece between special tokens, or nowhere.
`first` puts it in front of the whole text; a prompt begins with a special token, so it is nowhere,
too.
https://huggingface.co/docs/tokenizers/api/pre-tokenizers#tokenizers.pre_tokenizers.Metaspace
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cbt_ray.reading import read_json

SPACE = "\u2581"


def space_in_front(tokenizer: Path) -> bool | None:
    """Whether every piece of a text gets a space in front.

    None of a tokenizer that writes spaces in another way.
    """
    if not tokenizer.exists():
        return None
    settings = read_json(tokenizer)
    parts = [
        part for field in ("normalizer", "pre_tokenizer") for part in _parts(settings.get(field))
    ]
    spaces = [
        part
        for part in parts
        if SPACE in (part.get("prepend"), part.get("content"), part.get("replacement"))
    ]
    return any(_prepends(part) for part in spaces) if spaces else None


def _prepends(part: dict[str, Any]) -> bool:
    if part["type"] == "Metaspace":  # before `prepend_scheme` there was `add_prefix_space`
        scheme: str = part.get(
            "prepend_scheme", "always" if part.get("add_prefix_space", True) else "never"
        )
        return scheme == "always"
    return bool(part["type"] == "Prepend")


def _parts(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A normalizer or pre-tokenizer, or the ones that a sequence of them holds."""
    if part is None:
        return
    inner = part.get("normalizers") or part.get("pretokenizers")
    if inner is None:
        yield part
        return
    for one in inner:
        yield from _parts(one)
