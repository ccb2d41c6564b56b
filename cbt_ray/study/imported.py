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
    """What the judge is."""
    who: str = ""
    """Which model it was, where the import knows it."""
    complete: bool = False
    """It was to rate every scheduled session.

    One without a rating is unrated, with its reason, and not just left out.
    """
    ratings: Digests = {}  # noqa: RUF012  pydantic copies it
    """Its ratings."""


class Imported(Block):
    """Units that are not made but were imported: the id of each with the digest of its content,
    which is its key.
    """

    profiles: Digests = {}  # noqa: RUF012
    """Training patients' profiles."""
    courses: Digests = {}  # noqa: RUF012
    """Sessions of courses."""
    sessions: Digests = {}  # noqa: RUF012
    """Simulated sessions. An arm of which all are here needs no model."""
    judges: Mapping[Name, ImportedJudge] = {}
    """Everybody whose ratings were imported, and who is none of `raters`."""
    mapping: str | None = None
    """How `analyze` reads the table of scores that was published with it.

    It names the claims that were made on that table.
    """
    sources: tuple[str, ...] = ()
    """What was imported from where, for the report."""
