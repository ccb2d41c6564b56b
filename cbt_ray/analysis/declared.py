"""Was the analysis declared before the first rating? What was changed later makes the numbers that
rest on it post hoc.

A declaration is the part of a study file on which the analysis rests, with its hash and the time at
which the store took it in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

EVERYTHING = "everything"
RESTS_ON = {
    "analysis.unrated": [
        "contrasts",
        "policies",
        "tests",
        "slopes",
        "models",
        "covariates",
        "cells",
        "repeated",
        "scale",
        "power",
        "views",
        "refitted",
    ],
    "analysis.thorough": ["refitted"],
    "flags": ["flags", "flow", "detectors", "policies.unflagged"],
    "raters.*.probes": ["robustness", "scale"],
}
"""Field of a declaration (`*` is any name) -> sections of the analysis that rest on it; all
sections rest on a field that is not named."""


@dataclass(frozen=True)
class Declaration:
    """What was declared, and when (ISO 8601, UTC)."""

    declared_at: str
    h16: str
    content: Mapping[str, Any]


def standing(
    known: Sequence[Declaration],
    h16: str,
    content: Mapping[str, Any],
    first_rating_at: str | None,
    *,
    imported: bool,
) -> dict[str, Any]:
    """The section `declared`: when this declaration was taken in, what differs from the last one
    before the first rating.

    `imported`: ratings that were made elsewhere count, and nobody can say what was declared before
    them.
    """
    own = next((one for one in reversed(known) if one.h16 == h16), None)
    first = first_rating_at or "9999"
    before = [one for one in known if one.declared_at <= first]
    section = {
        "hash": h16,
        "declared_at": own.declared_at if own else None,
        "first_rating_at": first_rating_at,
        "before_first_rating": False,
        "changed": [],
        "post_hoc": [EVERYTHING],
    }
    if imported:
        return section | {
            "reason": "the ratings were made before this study, so all of it is post hoc"
        }
    if not before:
        return section | {"reason": "no analysis was declared before the first rating"}
    if before[-1].h16 == h16:
        return section | {"before_first_rating": True, "post_hoc": [], "reason": None}
    changed = differences(before[-1].content, content)
    rests = list(dict.fromkeys(part for change in changed for part in _rests_on(change["field"])))
    fields = ", ".join(change["field"] for change in changed)
    reason = f"other than what was declared last before the first rating: {fields}"
    return section | {"changed": changed, "post_hoc": rests, "reason": reason}


def _rests_on(field: str) -> list[str]:
    return next(
        (
            parts
            for name, parts in RESTS_ON.items()
            if fnmatchcase(field, name) or fnmatchcase(field, f"{name}.*")
        ),
        [EVERYTHING],
    )


def differences(old: Any, new: Any, field: str = "") -> list[dict[str, Any]]:
    """Fields that differ, by their dotted names, with both values."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = [*old, *(name for name in new if name not in old)]
        return [
            change
            for name in names
            for change in differences(
                old.get(name), new.get(name), f"{field}.{name}" if field else name
            )
        ]
    return [] if old == new else [{"field": field, "declared": old, "now": new}]


def notices(section: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the top of the report must say of it."""
    if not section["post_hoc"]:
        return []
    what = "all numbers" if EVERYTHING in section["post_hoc"] else ", ".join(section["post_hoc"])
    return [{"id": "post_hoc", "text": f"Post hoc ({what}): {section['reason']}.", "weight": 70}]
