"""Was the analysis declared before the first rating? What was changed later makes the numbers that
rest on it post hoc.

A declaration is the part of a study file on which the analysis rests, with its hash and the time at
which the store took it in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from cbt_ray.analysis.notice import Notice

EVERYTHING = "everything"
RESTS_ON = {
    "analysis.unrated": [
        "contrasts",
        "outcomes",
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
    content: Mapping[str, object]


@dataclass(frozen=True)
class Change:
    """A field that is not as it was declared."""

    field: str
    """Its dotted name."""
    declared: object
    now: object


@dataclass(frozen=True)
class Standing:
    """The section `declared`: what is post hoc, and why."""

    hash: str
    declared_at: str | None
    first_rating_at: str | None
    post_hoc: Sequence[str]
    """Sections, or `everything`."""
    before_first_rating: bool = False
    changed: Sequence[Change] = ()
    """Since the last declaration before the first rating."""
    reason: str | None = None

    @property
    def notices(self) -> list[Notice]:
        """What the top of the report must say of it."""
        if not self.post_hoc:
            return []
        what = "all numbers" if EVERYTHING in self.post_hoc else ", ".join(self.post_hoc)
        return [Notice("post_hoc", f"Post hoc ({what}): {self.reason}.", 70)]


def standing(
    known: Sequence[Declaration],
    h16: str,
    content: Mapping[str, object],
    first_rating_at: str | None,
    *,
    imported: bool,
) -> Standing:
    """When this declaration was taken in, and what differs from the last one before the first
    rating.

    `imported`: ratings that were made elsewhere count, and nobody can say what was declared before
    them.
    """
    own = next((one for one in reversed(known) if one.h16 == h16), None)
    section = Standing(h16, own.declared_at if own else None, first_rating_at, [EVERYTHING])
    before = [one for one in known if one.declared_at <= (first_rating_at or "9999")]
    if imported:
        why = "the ratings were made before this study, so all of it is post hoc"
        return replace(section, reason=why)
    if not before:
        return replace(section, reason="no analysis was declared before the first rating")
    if before[-1].h16 == h16:
        return replace(section, before_first_rating=True, post_hoc=[])
    changed = differences(before[-1].content, content)
    rests = list(dict.fromkeys(part for change in changed for part in _rests_on(change.field)))
    fields = ", ".join(change.field for change in changed)
    reason = f"other than what was declared last before the first rating: {fields}"
    return replace(section, changed=changed, post_hoc=rests, reason=reason)


def _rests_on(field: str) -> list[str]:
    return next(
        (
            parts
            for name, parts in RESTS_ON.items()
            if fnmatchcase(field, name) or fnmatchcase(field, f"{name}.*")
        ),
        [EVERYTHING],
    )


def differences(old: object, new: object, field: str = "") -> list[Change]:
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
    return [] if old == new else [Change(field, old, new)]
