"""JSON schemas of bounded prose: what a weak model is held to, so that validation need not be
weakened.
"""

from __future__ import annotations

import re
from typing import Any

from cbt_ray.study.endpoint import Role
from cbt_ray.therapy.language import Language

_MARKS = " ,'?!."
"""What `prose: letters` leaves besides letters: no digits, lists, quotes and markup, in which small
models lose themselves."""
_SPECIAL = re.compile(r"[.$*+?{}()|]")
"""In given first words; in brackets, since llama.cpp's grammars know no backslash before them."""
_PLAIN = "0-9 ,.;:'?!()-"
"""After given first words, for all others."""


def bounded(
    chars: tuple[int, int], role: Role, language: Language, lead: str = ""
) -> dict[str, Any]:
    """A string of prose, `chars` = shortest and longest length, that begins with `lead` where one
    is given.

    A role with `prose: letters` is held to letters and plain punctuation, a capital first and the
    end of a sentence last.
    """
    low, high = chars
    if role.prose == "free" and not lead:
        return {"type": "string", "minLength": low, "maxLength": high}
    plain = _SPECIAL.sub(r"[\g<0>]", lead)
    begin = f"{plain} " if lead else f"[{language.capitals}]"
    taken = len(lead) + 2 if lead else 2
    letter = f"[{language.letters}{_MARKS if role.prose == 'letters' else _PLAIN}]"
    return {
        "type": "string",
        "pattern": f"^{begin}{letter}{{{max(low - taken, 1)},{max(high - taken, 12)}}}[.?!]$",
    }


def record(properties: dict[str, Any]) -> dict[str, Any]:
    """A closed object whose properties are all required, in this order."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
