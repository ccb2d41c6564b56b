"""Front matter: what a model says of itself in the words of Hugging Face's cards, which llama.cpp's
converter reads, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import yaml

from cbt_ray.study.licence import Demands
from cbt_ray.study.recipe import is_hub_id

LICENCE_FILE = "LICENSE.md"
"""Where licences stand that no single link leads to; the hub follows no other name."""
Relation = Literal["finetune", "adapter"]


@dataclass(frozen=True)
class Front:
    """A model by its name, with what is known of it. What is None is not known."""

    name: str
    demands: Demands | None = None
    base: str | None = None
    """A hub id, or a file of a package."""
    language: str | None = None

    def fields(self, kinds: Sequence[str], relation: Relation = "finetune") -> dict[str, Any]:
        """What the hub reads of a card, of a model in these kinds of files."""
        of_base: dict[str, Any] = {}
        if self.base and is_hub_id(self.base):
            of_base = {"base_model": self.base, "base_model_relation": relation}
        return {
            **({"language": [self.language]} if self.language else {}),
            **self._licence(),
            **of_base,
            **({"library_name": "peft"} if relation == "adapter" else {}),
            "tags": ["cbt-ray", *kinds, "not-for-clinical-use"],
            "pipeline_tag": "text-generation",
        }

    def in_gguf(self) -> str:
        """A card for the converter, which knows bases without a hub id by a name of their own."""
        fields = self.fields(["gguf"])
        if self.base and "base_model" not in fields:
            fields["base_model"] = [{"name": PurePosixPath(self.base).name.removesuffix(".gguf")}]
        return written(fields)

    @property
    def licence_file(self) -> bool:
        """Whether `LICENSE.md` has to say which licences there are."""
        return self._licence().get("license_link") == LICENCE_FILE

    def _licence(self) -> dict[str, str]:
        """As the hub calls it; of several, or of one that it does not know, where they stand."""
        if self.demands is None:
            return {}
        licences = self.demands.licences
        names = {licence.terms.hub or _slug(licence.name) for licence in licences}
        if len(names) == 1 and licences[0].terms.hub:
            return {"license": licences[0].terms.hub}
        link = licences[0].terms.link if len(licences) == 1 else None
        return {
            "license": "other",
            "license_name": "-and-".join(sorted(names)),
            "license_link": link or LICENCE_FILE,
        }


def written(fields: dict[str, Any]) -> str:
    """Front matter as it begins a card."""
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---\n"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
