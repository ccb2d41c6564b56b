"""The study file of what was published, written for it where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cbt_ray.imports.manifest import study_name
from cbt_ray.published.act.profile import Profile, name_of, variables
from cbt_ray.published.act.publication import Published
from cbt_ray.published.act.transcript import MESSAGES
from cbt_ray.published.study_text import filled, quoted, remarked
from cbt_ray.study.contrast import Contrast, unanswered

TEMPLATE = Path(__file__).with_name("study.yaml.j2")
CONTRASTS = (
    Contrast(name="orpo-instruct", plus={"training": "orpo"}, minus={"training": "instruct"}),
    Contrast(name="orpo-sft", plus={"training": "orpo"}, minus={"training": "sft"}),
    Contrast(name="sft-instruct", plus={"training": "sft"}, minus={"training": "instruct"}),
    Contrast(name="reasoning", plus={"reasoning": "yes"}, minus={"reasoning": "no"}),
)
"""What the abstract compares, each within the other factor."""
NOT_FOUND = "profiles were not found"
NOT_KNOWN = "Imported: the profile of this patient was not found, and nobody plays it here."


def compose(published: Published, study_file: Path, manifest: Path, source: str, found: str) -> str:
    """The text of a complete study file for what was published."""
    profiles, arms = published.profiles, [one.variant for one in published.therapists]
    values: dict[str, Any] = {
        "source": remarked(source),
        "found": found,
        "manifest": manifest.name,
        "study": quoted(study_name(study_file)),
        "variables": remarked(variables(list(profiles.values()))) if profiles else NOT_FOUND,
        "patients": [_patient(number, profiles.get(number)) for number in published.patients],
        "arms": arms,
        "reasoning": any(arm.reasoning for arm in arms),
        "events": [quoted(event) for event in published.events],
        "messages": MESSAGES,
        "rated": any(one.rated for one in published.therapists),
        "contrasts": list(_contrasts(published)),
    }
    return filled(TEMPLATE, values)


def _patient(number: int, profile: Profile | None) -> dict[str, str]:
    kind = remarked(f"{profile.archetype}: {profile.style}") if profile else ""
    text = profile.text if profile else NOT_KNOWN
    return {
        "name": quoted(name_of(number)),
        "profile": quoted(text),
        "comment": f"    # {kind}" if kind else "",
    }


def _contrasts(published: Published) -> Iterator[str]:
    """Those that the therapists who are here answer, as YAML."""
    levels = {one.variant.arm: one.variant.factors for one in published.therapists}
    for contrast in CONTRASTS:
        if not list(unanswered(contrast, levels)):
            sides = (json.dumps(dict(side)) for side in (contrast.plus, contrast.minus))
            yield "{{name: {}, plus: {}, minus: {}}}".format(contrast.name, *sides)
