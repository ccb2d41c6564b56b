"""A mapping: which columns of somebody's table of ratings are which of our fields, declared as
YAML.

`cbt-ray` (our own export), `cbt` and `act` (two published tables) come with the package, under
`mappings/`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from cbt_ray.errors import InputError
from cbt_ray.rating.measure import MeasureKind
from cbt_ray.reading import located, read_fields
from cbt_ray.reading.table import Table, encoding_of, read_table
from cbt_ray.study.block import Block, Name, pattern, refuse_all
from cbt_ray.study.complaint import refusal
from cbt_ray.study.contrast import Contrast

SHIPPED = Path(__file__).with_name("mappings")
TEXTS = (
    "session_key",
    "arm",
    "patient",
    "phase",
    "view",
    "judge",
    "kind",
    "reason",
    "stop_reason",
    "flags",
)
NUMBERS = ("replicate", "session", "judge_replicate")
AMOUNTS = ("seed", "words", "therapist_turns", "messages")
HEARD = "heard"
RATED = "rated"
FIELDS = (*TEXTS, *NUMBERS, *AMOUNTS, HEARD, RATED)


def _separator(value: str) -> str:
    if (not value.isprintable() and value != "\t") or value in "\"'" or value.isalnum():
        raise ValueError(f"expected a sign such as ',', ';' or a tab, found {value!r}")
    return value


FieldName = str
"""One of FIELDS, or a factor."""


class Pattern(Block):
    """A column of which parts are fields: each named group of the expression is one."""

    column: str
    pattern: Annotated[str, AfterValidator(pattern)]
    """A regular expression that the whole cell must match."""

    @property
    def fields(self) -> list[str]:
        """The fields that are parts of it."""
        return list(re.compile(self.pattern).groupindex)


class ItemColumn(Block):
    """A column with the scores of one item."""

    column: str
    title: str = ""


class Chains(Block):
    """What was scheduled, so that what was never rated is seen."""

    sessions: int = Field(ge=1, le=10_000)
    """Sessions of each chain."""
    every_patient: bool = True
    """Every arm was to see every patient; else only the arms and patients that the table pairs."""


class RepeatedMeasures(Block):
    """A comparison of conditions within subjects, on any columns of the table."""

    subject: Literal["patient"] = "patient"
    condition: str = "arm"
    """`arm`, or a factor."""
    measures: dict[str, str] = Field(min_length=1)
    """Column -> title."""


class Mapping(Block):
    """Which columns are which fields.

    Each field stands in one of `columns`, `patterns`, `constants`, or keeps its default.
    """

    mapping: Name
    description: str = ""
    scale: str = ""
    """What the scale is called, as the report says it."""
    separator: Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_separator)] = ","
    encoding: Annotated[str, AfterValidator(encoding_of)] = "utf-8"
    decimal: Literal[".", ","] = "."
    """The sign before the decimals of a number."""
    escaped: bool = False
    """cbt-ray wrote the table: an apostrophe before what a spreadsheet takes for a formula is no
    part of the text."""
    missing: tuple[str, ...] = ("", "NA", "NaN")
    """Cells that say that there is no value."""
    factors: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Factor -> its levels in the order in which they are shown, else that of the alphabet.

    A factor is a field like those of FIELDS; an arm without a name is called by its levels."""
    factor_prefix: str | None = None
    """In place of `factors`: every column that begins so is a factor, named by the rest."""
    columns: dict[FieldName, str] = Field(default_factory=dict)
    patterns: tuple[Pattern, ...] = ()
    constants: dict[FieldName, str | int] = Field(default_factory=dict)
    optional: tuple[FieldName, ...] = ()
    """Fields that keep their default where the table lacks their column."""
    values: dict[FieldName, dict[str, str]] = Field(default_factory=dict)
    """Field -> what the table calls it -> what we call it; a value that is not listed is refused.
    """
    items: dict[str, str | ItemColumn] = Field(default_factory=dict)
    """Item -> its column."""
    item_prefix: str | None = None
    """In place of `items`: every column that begins so is an item, named by the rest."""
    range: tuple[float, float] = (1, 10)
    """Lowest and highest score of one item; another is refused."""
    outcome: MeasureKind = "score"
    """What the total and the items are, and so by which intervals arms are compared.

    `flag`: yes or no, the upper or the lower end of `range`, which is 0 to 1 unless it is given.
    `share`: anything between the ends of `range`. `count`: a whole number from 0 on."""
    rescale: Literal["linear"] | None = None
    """How `import ratings` brings `range` onto the study's scale where that is another; `analyze`
    takes `range` as it is."""
    total: str = "sum"
    """The column of the total, or `sum`: the sum of the items, none where an item is missing."""
    scheduled: Chains | None = None
    phases: dict[str, tuple[int, int]] = Field(default_factory=dict)
    """Phase -> its first and last session."""
    contrasts: tuple[Contrast, ...] | None = None
    """What is compared; else what the arms suggest."""
    analysis: dict[str, Any] = Field(default_factory=dict)
    """Fields of the analysis block that this kind of table needs otherwise than by default."""
    repeated: RepeatedMeasures | None = None
    claims: str | None = None
    """Claims that were published on these very scores: a file under claims/, without .yaml."""

    @model_validator(mode="after")
    def _complete(self) -> Mapping:
        refuse_all(self._unknown())
        given = self._given()
        refuse_all(self._factors(given))
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice:
            raise ValueError(f"columns: expected each field once, {twice} is given more than once")
        if "patient" not in given:
            raise ValueError("columns: expected patient, in columns, patterns or constants")
        if not {"arm", *self.factors} & set(given):
            raise ValueError("columns: expected arm or a factor, in columns, patterns or constants")
        named = bool(self.items) + (self.item_prefix is not None)
        if named > 1 or (named == 0 and self.total == "sum"):
            raise ValueError(
                "items: expected either items or item_prefix, or the column of a total"
            )
        stray = next((name for name in self.values if name not in given), None)
        if stray:
            raise ValueError(f"values: expected fields that are read, {stray} is not")
        wrong = next(
            (
                name
                for name, value in self.constants.items()
                if name in TEXTS and not isinstance(value, str)
            ),
            None,
        )
        if wrong:
            raise ValueError(
                f"constants.{wrong}: expected text, in quotes; found the number "
                f"{self.constants[wrong]}"
            )
        if not all(map(math.isfinite, self.range)) or not self.range[0] < self.range[1]:
            raise ValueError(f"range: expected [lowest, highest], found {list(self.range)}")
        refuse_all(self._misfits())
        if self.rescale and "range" not in self.model_fields_set:
            raise ValueError("rescale: expected a range with it, which is rescaled")
        return self

    def _misfits(self) -> Iterator[str]:
        """What does not go with what the total is."""
        ranged = "range" in self.model_fields_set
        if self.outcome == "share" and not ranged:
            yield "range: expected [lowest, highest] of a share, such as [0, 100]"
        if self.outcome == "count" and ranged:
            yield "range: expected none of a count"
        if self.outcome == "flag" and self.total == "sum" and len(self.items) != 1:
            yield "outcome: expected the column of a total or one item, since no sum is a flag"

    @property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest score of an item; a count goes on without end."""
        if self.outcome == "count":
            return 0, math.inf
        return (
            (0, 1)
            if self.outcome == "flag" and "range" not in self.model_fields_set
            else self.range
        )

    def _given(self) -> list[str]:
        """The fields that are read."""
        return [
            *self.columns,
            *self.constants,
            *(name for part in self.patterns for name in part.fields),
        ]

    def _factors(self, given: Sequence[str]) -> Iterator[str]:
        yield from (
            f"factors.{name}: expected it in columns, patterns or constants"
            for name in self.factors
            if name not in given
        )
        if self.factors and self.factor_prefix is not None:
            yield "factors: expected either factors or factor_prefix"

    def _unknown(self) -> Iterator[str]:
        """Fields that there are none of."""
        known = (*FIELDS, *self.factors)
        expected = f"expected one of {', '.join(known)} (or a name under factors)"
        for name in self.factors:
            if name in FIELDS or not name.isprintable() or not name.strip():
                yield f"factors.{name}: expected another name than a field's"
        for part, names in (
            ("columns", self.columns),
            ("constants", self.constants),
            ("values", self.values),
        ):
            yield from (f"{part}.{name}: {expected}" for name in names if name not in known)
        for number, one in enumerate(self.patterns):
            where = f"patterns.{number}.pattern: expected named groups out of {', '.join(known)}"
            if not one.fields:
                yield f"{where}, found none"
            yield from (
                f"{where}, found (?P<{name}>...)" for name in one.fields if name not in known
            )
        yield from (
            f"optional: {expected}, found {name}" for name in self.optional if name not in known
        )
        condition = self.repeated.condition if self.repeated else "arm"
        if condition not in ("arm", *self.factors):
            yield f"repeated.condition: expected arm or a name under factors, found {condition}"

    def read(self, file: Path) -> Table:
        """A table as this mapping says that it is written. Raises InputError, one line."""
        return read_table(file, separator=self.separator, encoding=self.encoding, own=self.escaped)

    @cached_property
    def where(self) -> dict[str, str]:
        """Column -> the first place in the mapping that names it."""
        places: dict[str, str] = {}
        for name, column in self.columns.items():
            places.setdefault(column, f"columns.{name}")
        for number, part in enumerate(self.patterns):
            places.setdefault(part.column, f"patterns.{number}.column")
        for item, column in self.item_columns.items():
            places.setdefault(column, f"items.{item}")
        if self.total != "sum":
            places.setdefault(self.total, "total")
        for column in self.repeated.measures if self.repeated else ():
            places.setdefault(column, "repeated.measures")
        return places

    def where_of(self, field: str) -> str:
        """The column that a field is read from, or its name."""
        patterns = {name: part.column for part in self.patterns for name in part.fields}
        return self.columns.get(field) or patterns.get(field) or field

    @property
    def item_columns(self) -> dict[str, str]:
        """Item -> its column, of those that are listed."""
        return {
            item: column if isinstance(column, str) else column.column
            for item, column in self.items.items()
        }

    @property
    def titles(self) -> dict[str, str]:
        """Item -> readable name, of those that are listed: the column's, unless one is given."""
        return {
            item: column if isinstance(column, str) else column.title or column.column
            for item, column in self.items.items()
        }


def shipped() -> list[str]:
    """The mappings that come with the package."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def load_mapping(name: str) -> Mapping:
    """Read a mapping of the package by its name, or one's own file. Raises InputError, one line."""
    own = name.endswith((".yaml", ".yml")) or "/" in name
    try:
        file = located(name) if own else located(f"{name}.yaml", SHIPPED)
    except InputError as error:
        raise InputError(f"--mapping: {error}") from None
    if not own and not file.is_file():
        raise InputError(
            f"--mapping {name}: expected {', '.join(shipped())} or a YAML file, there is none"
        )
    try:
        return Mapping.model_validate(read_fields(file))
    except ValidationError as error:
        raise refusal(error, Mapping, f"{file}: ") from None
