"""What was imported: units by their content, written by `cbt-ray import` into the file that
`imported` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from cbt_ray.study.block import Block, Name

OWN_JUDGE = "judge"
ABSENT = "absent"
"""Why an imported unit is rejected for which the import held nothing."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Digests = Mapping[str, Digest]


class ImportedJudge(Block):
    """Somebody whose ratings of the study's sessions were imported."""

    kind: Literal["model", "human"] = "model"
    who: str = ""
    """Which model it was, where the import knows it."""
    complete: bool = False
    """Every scheduled session was to be rated: one without a rating is unrated, with its reason,
    and not just left out."""
    ratings: Digests = {}  # noqa: RUF012  pydantic copies it
    """Id of a rating -> digest of its content."""


class Imported(Block):
    """Units that are not made but were imported: the id of each with the digest of its content,
    which is its key.
    """

    profiles: Digests = {}  # noqa: RUF012
    courses: Digests = {}  # noqa: RUF012
    sessions: Digests = {}  # noqa: RUF012
    judges: Mapping[Name, ImportedJudge] = {}
    mapping: str | None = None
    """How `analyze` reads the table of scores that was published with it, which names the claims
    that were made on it."""
    sources: tuple[str, ...] = ()
    """What was imported from where, for the report."""
