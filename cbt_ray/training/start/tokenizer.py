"""A `tokenizer.json` as training uses it: nothing it was saved with changes a text, and control
tokens are kept apart.
"""

from __future__ import annotations

import logging
import re
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.llm.control import Control
from cbt_ray.reading import read_bytes

log = logging.getLogger(__name__)


class FileTokenizer:
    """A `tokenizer.json`.

    Adds no special tokens, cuts nothing, pads nothing and splits words the same way each time.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._tokenizer = file, _opened_tokenizer(file)
        names = _switched_off(self._tokenizer)
        if names:
            _say_switched_off(file.resolve(), ", ".join(names))
        self._special = [
            one for one in self._tokenizer.get_added_tokens_decoder().values() if _is_control(one)
        ]
        self.control = Control(token.content for token in self._special)

    @cached_property
    def _plain(self) -> Any:
        """The same tokenizer, to which control tokens are text."""
        plain = _opened_tokenizer(self._file)
        _switched_off(plain)
        plain.add_special_tokens([_as_special(token) for token in self._special])
        plain.encode_special_tokens = True
        _never_first(plain.pre_tokenizer)
        return plain

    def encode(self, text: str, *, control: bool = True) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids, and the characters that each stands for.

        `control`: control tokens are tokens, and not plain text.
        """
        encoding = (self._tokenizer if control else self._plain).encode(
            text, add_special_tokens=False
        )
        return encoding.ids, encoding.offsets

    def id_of(self, token: str) -> int | None:
        """The id of one token, None where the vocabulary lacks it."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found


def _opened_tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer

    data = read_bytes(file)
    try:
        return Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises nothing more exact
        raise InputError(
            f"{file}: expected a tokenizer ({' '.join(str(error).split())[:200]})"
        ) from None


def _switched_off(tokenizer: Any) -> list[str]:
    """Switch off what a tokenizer was saved with and what would change a text.

    Returns its names.
    """
    found = []
    if tokenizer.truncation is not None:
        found.append("truncation")
        tokenizer.no_truncation()
    if tokenizer.padding is not None:
        found.append("padding")
        tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None):
        found.append("dropout")
        tokenizer.model.dropout = None
    return found


@cache
def _say_switched_off(file: Path, names: str) -> None:
    log.warning("%s: %s: switched off, since it would change what is trained on", file, names)


def _is_control(token: Any) -> bool:
    """A converter for llama.cpp takes for a control token what looks like one, too."""
    return (
        bool(token.special)
        or re.fullmatch("<\\|.*\\|>|<\uff5c.*\uff5c>", token.content, re.DOTALL) is not None
    )


def _as_special(token: Any) -> Any:
    from tokenizers import AddedToken

    return AddedToken(
        token.content,
        special=True,
        normalized=token.normalized,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        single_word=token.single_word,
    )


def _never_first(part: Any) -> None:
    """A piece of plain text is never the first of a prompt, so no space is put in front of it as of
    a whole text.
    """
    if getattr(part, "prepend_scheme", None) == "first":
        part.prepend_scheme = "never"
