"""The languages that the project has, and the rules of flags in one of them."""

from __future__ import annotations

from typing import Any

from cbt_ray.prompts import Prompts
from cbt_ray.study.protocol import Flags
from cbt_ray.therapy.language import FlagRules, load_language

ENGLISH = load_language(Prompts())
GERMAN = load_language(Prompts(language="de"))
WORDS = ENGLISH.transcript


def flag_rules(**changes: Any) -> FlagRules:
    """The English rules with these of their fields changed."""
    return FlagRules.model_validate(ENGLISH.rules(Flags()).model_dump() | changes)
