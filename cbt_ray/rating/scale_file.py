"""A scale is data: a folder with scale.yaml, and one file an item where scale.yaml only names
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts
from cbt_ray.rating.measure import Measure, circle, ends_of, plain_ends
from cbt_ray.rating.scale import Item, Kind, Scale, Step
from cbt_ray.reading import read_fields
from cbt_ray.reading.once import once
from cbt_ray.study.block import Block, refuse_all, twice
from cbt_ray.study.complaint import refusal

MOST = 200
"""Items of a scale, its measures, or steps of an item."""
ALL = "all"
"""Every item, where a measure says of what it is made."""
_OPERATIONS: tuple[Literal["sum", "mean", "ratio"], ...] = ("sum", "mean", "ratio")
B = TypeVar("B", bound=Block)


def _text(value: str) -> str:
    if value != value.strip() or not value:
        raise ValueError("expected text without blanks around it")
    return value


def _each_once(value: tuple[str, ...]) -> tuple[str, ...]:
    if (again := twice(value)) is not None:
        raise ValueError(f"expected each once, found {again!r} twice")
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Text = Annotated[str, AfterValidator(_text)]
ID = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$"
Id = Annotated[str, Field(pattern=ID)]
Ids = Annotated[tuple[Id, ...], Field(min_length=1, max_length=MOST), AfterValidator(_each_once)]
Parts = Annotated[
    tuple[str, ...],
    Field(min_length=1, max_length=MOST),
    BeforeValidator(_listed),
    AfterValidator(_each_once),
]
"""Names of items and measures, or one name alone; `all`: every item."""


class WordBlock(Block):
    """A word that an item is answered with."""

    word: Text
    score: int | None = None
    """None: one more than the word before; the first is 1."""
    anchor: Text | None = None


class Answers(Block):
    """What items are answered with: words, whole numbers, or how often something is there."""

    words: tuple[WordBlock, ...] | None = Field(None, min_length=2, max_length=MOST)
    numbers: tuple[int, int] | None = None
    """The lowest and the highest."""
    anchors: Mapping[int, Text] = {}
    """What a number stands for; not every number needs one."""
    count: bool = False
    """0, 1, 2, ... without an end."""

    @model_validator(mode="after")
    def _one_kind(self) -> Answers:
        refuse_all(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        if (self.words is not None) + (self.numbers is not None) + self.count > 1:
            yield "words: expected only one of words, numbers and count"
        steps = _worded(self.words or ())
        for place, step in enumerate(steps):
            if step.word.casefold() in (one.word.casefold() for one in steps[:place]):
                yield f"words.{place}.word: expected each word once, whatever its case"
            if step.score in (one.score for one in steps[:place]):
                yield f"words.{place}.score: expected each score once, found {step.score} twice"
        if self.numbers is not None and not 0 < self.numbers[1] - self.numbers[0] < MOST:
            yield (
                f"numbers: expected [lowest, highest], 2 to {MOST} whole numbers, found "
                f"{list(self.numbers)}"
            )
        elif self.numbers is not None:
            yield from stray_anchors(self.anchors, self.numbers)

    @property
    def kind(self) -> Kind | None:
        """None where nothing is said."""
        if self.count:
            return "count"
        return "words" if self.words else "numbers" if self.numbers else None

    def steps(self) -> tuple[Step, ...]:
        """The scores with what they stand for."""
        return _worded(self.words) if self.words else _numbered(self.numbers, self.anchors)


class ItemBlock(Answers):
    """An item: in scale.yaml, or <item>.yaml."""

    title: Text
    question: Text


class MeasureBlock(Block):
    """A measure: one of sum, mean and ratio, perhaps rescaled."""

    title: Text | None = None
    sum: Parts | None = None
    mean: Parts | None = None
    ratio: tuple[Parts, Parts] | None = None
    """The sum of the first over the sum of the second; without a value where that is 0."""
    rescale: tuple[float, float] | None = None
    """Where the lowest and the highest possible value are put."""
    times: float = 1
    """What it is multiplied by in the end; 100 makes a share a percentage."""

    @model_validator(mode="after")
    def _one_operation(self) -> MeasureBlock:
        given = [name for name in _OPERATIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected one of sum, mean and ratio, found {', '.join(given) or 'none'}"
            )
        if self.times == 0:
            raise ValueError("times: expected another number than 0")
        if self.rescale is not None and self.rescale[0] >= self.rescale[1]:
            raise ValueError(f"rescale: expected [lowest, highest], found {list(self.rescale)}")
        return self

    def measure(self, name: str, items: tuple[str, ...]) -> Measure:
        """As it is computed."""
        operation = next(name for name in _OPERATIONS if getattr(self, name) is not None)
        given = getattr(self, operation)
        parts = given if operation == "ratio" else (given,)
        parts = tuple(items if part == (ALL,) else part for part in parts)
        times = int(self.times) if self.times == int(self.times) else self.times
        return Measure(name, self.title or name, operation, parts, times, self.rescale)


class _ScaleFile(Answers):
    """scale.yaml, but for its items."""

    title: Text
    source: Text | None = None
    """Who published the scale, and where."""
    licence: Text | None = None
    """What is known of its terms."""
    expertise: Text = "psychotherapy"
    """What the judge is an expert in, as its prompt says."""
    instructions: Text
    measures: Mapping[Id, MeasureBlock] = Field(min_length=1, max_length=MOST)
    """The first is the headline."""


class ScaleFile(_ScaleFile):
    """scale.yaml with its items."""

    items: Mapping[Id, ItemBlock] = Field(min_length=1, max_length=MOST)


class NamingFile(_ScaleFile):
    """scale.yaml that names its items' files."""

    items: Ids


def scale_files(prompts: Prompts, *names: str) -> list[str]:
    """The files that make up scales, for their hashes."""
    files = []
    for name in names:
        file = _read(prompts.path(f"{name}/scale.yaml"))
        named = file.items if isinstance(file, NamingFile) else ()
        files += [f"{name}/scale.yaml", *(f"{name}/{item}.yaml" for item in named)]
    return files


def load_scales(prompts: Prompts, names: Iterable[str]) -> list[Scale]:
    """Read several scales; raises InputError with all that is wrong with any of them."""
    found, problems = list[Scale](), list[str]()
    for name in names:
        try:
            found.append(load_scale(prompts, name))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return found


def load_scale(prompts: Prompts, name: str) -> Scale:
    """Read a scale; raises InputError naming file and field, of all its files at once."""
    path = prompts.path(f"{name}/scale.yaml")
    try:
        file = _read(path)
    except InputError as error:
        raise InputError(*error.problems, *_items_faults(prompts, name, path)) from None
    blocks, problems = {}, list[str]()
    where = {}
    for item in file.items:
        try:
            if isinstance(file, ScaleFile):
                where[item], block = f"{path}: items.{item}.", file.items[item]
            else:
                own = prompts.path(f"{name}/{item}.yaml")
                where[item], block = f"{own}: ", _read_item(own)
            blocks[item] = block
            problems += [where[item] + line for line in _unanswered(block, file)]
        except InputError as error:
            problems += error.problems
    items = tuple(file.items)
    measures = tuple(block.measure(own, items) for own, block in file.measures.items())
    problems += [f"{path}: {line}" for line in _unmeasured(measures, file.measures, items)]
    if problems:
        raise InputError(*problems)
    made = tuple(_item(own, block, file) for own, block in blocks.items())
    problems = [f"{path}: {line}" for line in _endless(measures, made)]
    if problems:
        raise InputError(*problems)
    return Scale(
        name,
        file.title,
        file.instructions,
        file.expertise,
        made,
        measures,
        file.kind,
        file.steps(),
        file.source or "",
        file.licence or "",
    )


def _items_faults(prompts: Prompts, name: str, path: Path) -> Iterator[str]:
    """What is wrong with the items' files of a scale.yaml that is of no use itself."""
    try:
        named = read_fields(path).get("items")
    except InputError:
        return
    for item in named if isinstance(named, list) else ():
        if isinstance(item, str) and re.fullmatch(ID, item):
            try:
                _read_item(prompts.path(f"{name}/{item}.yaml"))
            except InputError as error:
                yield from error.problems


def _item(name: str, block: ItemBlock, scale: _ScaleFile) -> Item:
    if block.kind is not None:
        return Item(name, block.title, block.question, block.kind, block.steps(), own=True)
    steps = _numbered(scale.numbers, block.anchors) if block.anchors else scale.steps()
    kind = scale.kind or "count"  # with neither it is refused
    return Item(name, block.title, block.question, kind, steps, own=bool(block.anchors))


def _unanswered(block: ItemBlock, scale: _ScaleFile) -> Iterator[str]:
    """What is wrong with what an item is answered with, beside its scale."""
    if block.kind is None and scale.kind is None:
        yield "words: expected words, numbers or count, here or for the whole scale"
    if block.anchors and block.numbers is None:
        if block.kind is not None or scale.numbers is None:
            yield "anchors: expected numbers with them, here or for the whole scale"
        else:
            yield from stray_anchors(block.anchors, scale.numbers)


def stray_anchors(anchors: Mapping[int, str], numbers: tuple[int, int]) -> Iterator[str]:
    """Anchors of numbers that are none of the item's."""
    for number in anchors:
        if not numbers[0] <= number <= numbers[1]:
            yield f"anchors.{number}: expected a number from {numbers[0]} to {numbers[1]}"


def _unmeasured(
    measures: tuple[Measure, ...], blocks: Mapping[str, MeasureBlock], items: tuple[str, ...]
) -> Iterator[str]:
    """What is wrong with the names in measures."""
    known = [*items, *blocks]
    if ALL in known:
        yield f"items: expected no item or measure called {ALL}, which means every item"
    for measure in measures:
        if measure.name in items:
            yield f"measures.{measure.name}: expected another name than that of an item"
        for part in dict.fromkeys(part for group in measure.parts for part in group):
            if part not in known:
                yield (
                    f"measures.{measure.name}.{measure.operation}: unknown item or measure "
                    f"{part!r}, expected {ALL} or some of {', '.join(known)}"
                )
    if not set(items) & set(blocks) and (way := circle(measures)):
        yield (
            f"measures.{way[0]}: expected no measure that is made of itself, found "
            f"{' of '.join(way)}"
        )


def _endless(measures: tuple[Measure, ...], items: tuple[Item, ...]) -> Iterator[str]:
    """Measures that are rescaled and have no two ends."""
    ends = ends_of(measures, {item.id: item.ends for item in items})
    for measure in measures:
        if measure.rescale is not None:
            plain = plain_ends(measure, [[ends[part] for part in group] for group in measure.parts])
            if None in plain or plain[0] == plain[1]:
                yield (
                    f"measures.{measure.name}.rescale: expected parts with a lowest and a highest "
                    "value, unlike counts and ratios"
                )


def _worded(words: tuple[WordBlock, ...]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for word in words:
        after = steps[-1].score + 1 if steps else 1
        steps.append(
            Step(after if word.score is None else word.score, word.word, word.anchor or "")
        )
    return tuple(steps)


def _numbered(numbers: tuple[int, int] | None, anchors: Mapping[int, str]) -> tuple[Step, ...]:
    if numbers is None:
        return ()
    return tuple(
        Step(score, str(score), anchors.get(score, ""))
        for score in range(numbers[0], numbers[1] + 1)
    )


@once
def _read(path: Path) -> ScaleFile | NamingFile:
    fields = read_fields(path)
    naming = isinstance(fields.get("items"), list)
    file = _valid(NamingFile, fields, path) if naming else _valid(ScaleFile, fields, path)
    if file.anchors and file.numbers is None:
        raise InputError(f"{path}: anchors: expected numbers with them")
    return file


@once
def _read_item(path: Path) -> ItemBlock:
    return _valid(ItemBlock, read_fields(path), path)


def _valid(kind: type[B], fields: Any, path: Path) -> B:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise refusal(error, kind, f"{path}: ") from None
