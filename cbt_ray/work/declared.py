"""Declarations in the store: what a study's analysis was to be, with its hash and the time, taken
in before the first rating.

<study>/declared/<time>-<h16>    one record, written once: declared_at, content
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from cbt_ray.analysis.declared import Declaration
from cbt_ray.store import Store
from cbt_ray.study import Study
from cbt_ray.study.endpoint import Role
from cbt_ray.study.lesson import learners
from cbt_ray.study.rater import Judge, Rater
from cbt_ray.unit import Key, Stage, Unit, digest

FOLDER = "declared"


def declaration_of(study: Study) -> dict[str, Any]:
    """What of a study file the analysis rests on: question, design, judge, flags and the analysis
    block.
    """
    return {
        "design": {
            "arms": {arm: dict(levels) for arm, levels in study.factors.items()},
            "contrasts": [one.model_dump() for one in study.contrasts],
            "patients": len(study.simulated),
            "sessions": study.sessions.count,
            "replicates": study.sessions.replicates,
        },
        "raters": {
            name: rater.model_dump(mode="json", exclude=_undeclared(rater))
            for name, rater in study.raters.items()
        },
        **_learned(study),
        "flags": study.flags.model_dump(mode="json"),
        "analysis": study.analysis.model_dump(mode="json"),
    }


def _learned(study: Study) -> dict[str, Any]:
    """Which patients judges learn from, and so never rate."""
    found = {model: study.models[model].learns for model in learners(study)}
    told = {model: learns.model_dump() for model, learns in found.items() if learns is not None}
    return {"learns": told, "seed": study.seed} if told else {}


def _undeclared(rater: Rater) -> set[str]:
    """Fields of a rater that are no part of a declaration."""
    fixed = {"model", "tuned"} if isinstance(rater, Judge) and rater.model is None else set()
    return {"justification_chars", *Role.model_fields, *fixed}


def hash_of(content: dict[str, Any]) -> str:
    """Sixteen digits that name a declaration."""
    return digest(content)


def declare(store: Store, study: Study, now: datetime) -> Declaration:
    """Take a study's declaration in, unless it is the last one already.

    Answers the one that is in the store.
    """
    content = declaration_of(study)
    known = declarations(store, study)
    if known and known[-1].h16 == hash_of(content):
        return known[-1]
    declared = Declaration(
        now.isoformat(timespec="seconds"), hash_of(content), content
    )  # ratings are dated to the second, too
    path = f"{study.study}/{FOLDER}/{now:%Y%m%dT%H%M%S.%f}-{declared.h16}"
    record = {"declared_at": declared.declared_at, "content": content}
    store.create(path, json.dumps(record, indent=1, ensure_ascii=False).encode())
    return declared


def declarations(store: Store, study: Study) -> list[Declaration]:
    """All that were ever taken in, the oldest first; a torn record is left out."""
    found = []
    for path in sorted(store.list(f"{study.study}/{FOLDER}/")):
        try:
            record = json.loads(store.read(path) or b"")
            found.append(
                Declaration(record["declared_at"], path.rsplit("-", 1)[-1], record["content"])
            )
        except (ValueError, KeyError):
            continue
    return found


def first_rating(
    store: Store, study: Study, read: Mapping[Key, Unit] = MappingProxyType({})
) -> str | None:
    """When the study's own judge first rated anything under this study's name, by whatever version
    of its file.

    What people rate or rules count is known to who reads a session: then the first session counts
    that was held. A rating that was moved aside since counts, too: who rates anew has seen the
    first ones. `read`: units that were read already and are not read again.
    """
    stage = Stage.RATINGS if study.headline_judge in study.judges else Stage.SESSIONS
    keys = []
    for path in store.list(f"{study.study}/{stage}/"):
        with contextlib.suppress(ValueError):
            keys.append(Key.parse(path))
    units = [read[key] for key in keys if key in read]
    units += [unit for _, unit in store.get_many(key for key in keys if key not in read) if unit]
    aside = store.list(f"{study.study}/aside/{stage}/")  # as far as they are whole
    units += filter(None, store.readable(aside))
    return min(filter(None, (unit.provenance.get("made_at") for unit in units)), default=None)
