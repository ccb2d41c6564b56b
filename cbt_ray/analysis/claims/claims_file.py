"""A claims file: what was published on a table of scores, in our words, with the printed numbers
and how each is tested.

A claims file is data under claims/; it holds no verdicts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from cbt_ray.analysis.claims.path import Step, refused
from cbt_ray.analysis.claims.verdict import Kind, Source
from cbt_ray.errors import InputError
from cbt_ray.reading import read_fields
from cbt_ray.study.block import Block, refuse_all
from cbt_ray.study.complaint import refusal

FOLDER = Path(__file__).parent


class Test(Block):
    """How a claim is tested: a value, and what must hold of it.

    Exactly one of the rules, or `none` with the reason.
    """

    __test__ = False  # no test of pytest

    path: tuple[Step, ...] = ()
    """Where the value stands in analysis.json."""
    over: tuple[Step, ...] = ()
    """Where the number stands that it is divided by, if any."""
    compute: str | None = None
    """In place of `path`: a computation of claim_tests, of whose result `field` is the value."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    field: Literal["value", "p"] = "value"
    factor: float = 1.0
    """What the value is multiplied with, e.g. -1 where the paper has the opposite sign."""
    digits: bool = False
    """The value equals the printed one to its last digit."""
    inside: bool = False
    """The printed value lies in the interval of the computation (`low`, `high`)."""
    below: float | None = None
    above: float | None = None
    descending: tuple[tuple[Step, ...], ...] = ()
    """The values at these paths fall from each to the next."""
    none: str | None = None
    """Why it cannot be tested."""

    @model_validator(mode="after")
    def _one_rule(self) -> Test:
        rules = [
            self.digits,
            self.inside,
            self.below is not None,
            self.above is not None,
            bool(self.descending),
            self.none is not None,
        ]
        if sum(rules) != 1:
            raise ValueError(
                "expected exactly one of digits, inside, below, above, descending, none"
            )
        if (
            self.none is None
            and not self.descending
            and bool(self.path) == (self.compute is not None)
        ):
            raise ValueError("expected either path or compute")
        return self

    @property
    def paths(self) -> list[tuple[Step, ...]]:
        """The paths that it reads."""
        return [path for path in (self.path, self.over, *self.descending) if path]


class Claim(Block):
    """One claim."""

    id: str
    group: str
    source: str
    text: str
    """What is claimed, in our words."""
    kind: Kind
    printed: str | None = None
    """The number as it is printed."""
    reading: str = ""
    """How we read a claim that can be read in several ways."""
    published: Test
    default: Test | None = None
    """None: the same as under the published analysis, since no error term is involved."""


class Table(Block):
    """Many numbers of one kind, printed as a table: each becomes a claim."""

    id: str
    group: str
    source: str
    text: str
    """With {row}, {column} and {number} for the cell."""
    path: tuple[Step, ...]
    """With {row} and {column} for the cell; the number's name is added."""
    numbers: tuple[str, ...]
    """What the numbers of a cell are, in their order; blanks separate them."""
    default: str | None = None
    """Why the default analysis has no such number; none: it has the same."""
    cells: dict[str, dict[str, str]]
    """Row -> column -> numbers."""

    def claims(self) -> list[Claim]:
        """A claim for each number."""
        found = []
        for row, columns in self.cells.items():
            for column, cell in columns.items():
                for number, printed in zip(self.numbers, cell.split(), strict=True):
                    words = {"row": row, "column": column, "number": number}
                    path = (*(_filled(step, words) for step in self.path), number)
                    default = Test(none=self.default) if self.default else None
                    head = {
                        "id": f"{self.id}.{row}.{column}.{number}",
                        "group": self.group,
                        "source": self.source,
                        "kind": "number",
                    }
                    published = Test(path=path, digits=True)
                    found.append(
                        Claim(
                            **head,
                            text=self.text.format(**words),
                            printed=printed,
                            published=published,
                            default=default,
                        )
                    )
        return found


class ClaimsFile(Block):
    """Claims on one published table of scores."""

    paper: str
    url: str
    ratings: int = Field(ge=1)
    """How many ratings they were made on."""
    sources: dict[str, Source]
    not_had: str
    """What of the paper could not be read when the file was written."""
    claims: tuple[Claim, ...] = Field(min_length=1)
    tables: tuple[Table, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> ClaimsFile:
        ids = [claim.id for claim in self.all()]
        twice = next((name for name, count in Counter(ids).items() if count > 1), None)
        if twice:
            raise ValueError(f"claims: expected each id once, {twice} is given twice")
        refuse_all(
            f"claims: {claim.id}: {said}" for claim in self.all() for said in self._unknown(claim)
        )
        return self

    def _unknown(self, claim: Claim) -> Iterator[str]:
        """What a claim names that there is not."""
        from cbt_ray.analysis.claims.claim_tests import COMPUTATIONS
        from cbt_ray.analysis.schema import analysis_schema

        if claim.source not in self.sources:
            yield f"unknown source {claim.source}"
        for test in (one for one in (claim.published, claim.default) if one):
            if test.compute is not None and test.compute not in COMPUTATIONS:
                yield f"unknown computation {test.compute}"
            yield from filter(None, (refused(path, analysis_schema()) for path in test.paths))

    def all(self) -> list[Claim]:
        """The claims, then those of the tables."""
        return [*self.claims, *(claim for table in self.tables for claim in table.claims())]


def _filled(step: Step, words: Mapping[str, str]) -> Step:
    if isinstance(step, str):
        return step.format(**words)
    return {name: value.format(**words) for name, value in step.items()}


def load_claims(name: str) -> ClaimsFile:
    """Read a claims file of the package by its name. Raises InputError."""
    file = FOLDER / f"{name}.yaml"
    if not file.is_file():
        raise InputError(
            f"claims {name}: expected one of "
            f"{', '.join(sorted(path.stem for path in FOLDER.glob('*.yaml')))}"
        )
    try:
        return ClaimsFile.model_validate(read_fields(file))
    except ValidationError as error:
        raise refusal(error, ClaimsFile, f"{file}: ") from None
