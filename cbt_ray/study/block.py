"""The base of every block of the study file, and the few types that blocks share."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", value):
        raise ValueError("expected at most 31 lower-case letters, digits and hyphens")
    return value


def _range(value: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= value[0] <= value[1]:
        raise ValueError(f"expected [shortest, longest] with 1 <= shortest <= longest, found {list(value)}")
    return value


Name = Annotated[str, AfterValidator(_name)]
"""What becomes a part of keys and paths."""
Chars = Annotated[tuple[int, int], AfterValidator(_range)]
"""Shortest and longest text in characters."""


class Block(BaseModel):
    """A part of the study file: closed (a misspelt field is an error) and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
