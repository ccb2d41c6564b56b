"""What pyproject.toml declares, and what pip would bring of it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]


def declared(*extras: str) -> list[Requirement]:
    """The direct dependencies, with those of some extras and of the extras that these name."""
    found = list(map(Requirement, PROJECT["project"]["dependencies"]))
    for extra in extras:
        for one in map(Requirement, EXTRAS[extra]):
            found += declared(*sorted(one.extras)) if one.name == "cbt-ray" else [one]
    return found


def brought(requirements: Iterable[Requirement]) -> set[str]:
    """The distributions that requirements bring, as far as they are installed here."""
    waiting, done = list(requirements), set[tuple[str, frozenset[str]]]()
    while waiting:
        one = waiting.pop()
        seen = canonicalize_name(one.name), frozenset(one.extras)
        if seen not in done:
            done.add(seen)
            needed = map(Requirement, requires(one.name) or ())
            waiting += [part for part in needed if _applies(part, one.extras)]
    return {name for name, _ in done}


def _applies(part: Requirement, extras: set[str]) -> bool:
    marker = part.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""})
