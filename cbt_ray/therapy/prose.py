"""JSON schemas of bounded prose: what a weak model is held to, so that validation need not be
weakened.
"""

from __future__ import annotations

from typing import Any

from cbt_ray.study.endpoint import Role

_LETTERS = "[A-Za-z ,'?!.]"
"""What `prose: letters` leaves: no digits, lists, quotes and markup, in which small models lose
themselves."""
_PLAIN = "[A-Za-z0-9 ,.;:'?!()-]"
"""Behind given first words, for all others."""


def bounded(chars: tuple[int, int], role: Role, lead: str = "") -> dict[str, Any]:
    """A string of prose, `chars` = shortest and longest length, that begins with `lead` where one
    is given.

    A role with `prose: letters` is held to letters and plain punctuation, a capital first and the
    end of a sentence last.
    """
    low, high = chars
    if role.prose == "free" and not lead:
        return {"type": "string", "minLength": low, "maxLength": high}
    begin = f"{lead} " if lead else "[A-Z]"
    taken = len(lead) + 2 if lead else 2
    letter = _LETTERS if role.prose == "letters" else _PLAIN
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
