"""A group: the folder of one simulated therapist, whose name says which model it was and whether it
was tuned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cbt_ray.study.block import as_name

_NAME = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)_(Finetuned?|Tuned|Instruct)(_.*)?", re.IGNORECASE)
EXPECTED = "expected a name such as Llama_Finetune_... or Llama_Instruct_..."


@dataclass(frozen=True)
class Group:
    """One therapist of the published study, and the arm that it is here."""

    folder: str
    arm: str
    model: str
    variant: Literal["instruct", "tuned"]


def groups_of(folders: Iterable[str]) -> dict[str, Group]:
    """Folder -> group, without those whose names say nothing.

    A second folder of the same therapist gets a number.
    """
    found: dict[str, Group] = {}
    for folder in sorted(set(folders)):
        name = _NAME.fullmatch(folder)
        if name is None:
            continue
        model = as_name(name[1])[:15]
        variant: Literal["instruct", "tuned"] = (
            "instruct" if name[2].lower() == "instruct" else "tuned"
        )
        same = sum((group.model, group.variant) == (model, variant) for group in found.values())
        arm = f"{model}-{variant}" + (f"-{same + 1}" if same else "")
        found[folder] = Group(folder, arm, model, variant)
    return found
