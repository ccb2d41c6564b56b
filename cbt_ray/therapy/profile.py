"""Training patients: characteristics drawn at random, written out as a narrative by the generator
(arXiv 2412.00251, Methods) or by a fixed template.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from cbt_ray.count import many
from cbt_ray.errors import ModelFailure
from cbt_ray.llm.request import Ask, Message, Reply, Request
from cbt_ray.prompts import Prompts
from cbt_ray.study.endpoint import Role
from cbt_ray.study.patients import TrainingPatients
from cbt_ray.therapy.answer import Answer, ask_until, read_json
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.reply_schema import bounded, record

PROMPTS = ("profile.j2", "profile_request.j2")


def profile_prompts(patients: TrainingPatients) -> tuple[str, ...]:
    """The prompts that make a profile."""
    return PROMPTS if patients.profile is None else (patients.profile,)


@dataclass(frozen=True)
class Profile:
    """A training patient."""

    name: str
    characteristics: dict[str, str]
    narrative: str


def write_profile(
    patients: TrainingPatients,
    characteristics: dict[str, str],
    name: str | None,
    taken: Collection[str],
    prompts: Prompts,
    role: Role,
    ask: Ask,
    seed: int,
) -> Answer[Profile]:
    """Write out a training patient; with a fixed profile nothing is asked.

    Without a name the generator chooses one; a name in `taken` (first names, casefolded) is asked
    for anew. Raises ModelFailure where no answer was of use.
    """
    language = load_language(prompts)
    if patients.profile is not None and name is not None:
        written = prompts.render(patients.profile, name=name, characteristics=characteristics)
        return Answer(Profile(name, characteristics, written), {})
    properties: dict[str, Any] = (
        {} if name else {"name": {"type": "string", "pattern": language.course.names}}
    )
    request = Request(
        messages=(
            Message("system", prompts.render("profile.j2")),
            Message(
                "user",
                prompts.render("profile_request.j2", name=name, characteristics=characteristics),
            ),
        ),
        sampling=role.sampling,
        seed=seed,
        schema=record(
            {**properties, "narrative": bounded(patients.narrative_chars, role, language)}
        ),
    )

    def read(reply: Reply) -> Profile:
        value = read_json(reply)
        narrative, own = value.get("narrative"), name or value.get("name")
        if not isinstance(narrative, str) or not isinstance(own, str) or not own.strip():
            raise ModelFailure("malformed", "name or narrative missing")
        if not patients.narrative_chars[0] <= len(narrative) <= patients.narrative_chars[1]:
            raise ModelFailure("length", f"narrative of {many(len(narrative), 'character')}")
        if own.casefold().split()[0] in taken:
            raise ModelFailure("name_taken", f"{own} is a simulated patient's name")
        return Profile(own, characteristics, narrative)

    return ask_until(ask, request, role.attempts, read)
