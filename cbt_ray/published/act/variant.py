"""Variants: the six therapists of the publication, as its folders name them, and the arms that they
are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """One therapist."""

    folder: str
    """What it is called in folders and tables."""
    arm: str
    training: str
    reasoning: bool
    temperature: float
    """Of its sampling, as its notebook has it."""

    @property
    def factors(self) -> Mapping[str, str]:
        """Factor -> level."""
        return {"training": self.training, "reasoning": "yes" if self.reasoning else "no"}


VARIANTS = (
    Variant("llama3_3b_instruct", "instruct-reasoning", "instruct", True, 0.85),
    Variant("llama3_3b_instruct_no_COT", "instruct-answer", "instruct", False, 0.85),
    Variant("sft", "sft-reasoning", "sft", True, 0.85),
    Variant("sft_answer_only", "sft-answer", "sft", False, 0.85),
    Variant("orpo", "orpo-reasoning", "orpo", True, 0.7),
    Variant("orpo_no_COT", "orpo-answer", "orpo", False, 0.7),
)
BY_FOLDER = {variant.folder: variant for variant in VARIANTS}
