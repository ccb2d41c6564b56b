"""Patients: those whose courses are trained on, and those with whom sessions are simulated."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from cbt_ray.study.block import LONGEST_TEXT, Block, Chars, Phrase, refuse_all, twice
from cbt_ray.unit import seed_of

JOINERS = "\u200c\u200d"
"""Persian and Indic names hold them; Python takes them for unprintable."""
COMBINED = 10_000
"""Combinations of balanced levels that are looked at."""
DRAWS = 1000
"""Times that a patient is drawn anew because of what never goes together."""


def in_key(letter: str) -> bool:
    """Whether a character of a name, of whatever script, is kept in keys: a letter or digit, or a
    vowel sign of one.
    """
    return letter.isalnum() or unicodedata.category(letter).startswith("M")


def _person(value: str) -> str:
    known = "".join(c for c in value if c not in JOINERS)
    if not any(c.isalnum() for c in known) or not known.isprintable():
        raise ValueError("expected a name with at least one letter or digit, of any script")
    return value


def _field(value: str) -> str:
    if not value.strip() or not value.isprintable() or "." in value:
        raise ValueError("expected a name without dots")
    return value


PersonName = Annotated[str, Field(max_length=60), AfterValidator(_person)]
Characteristic = Annotated[str, Field(max_length=60), AfterValidator(_field)]


class Level(Block):
    """A level of a characteristic; a bare number is its weight."""

    bare = "weight"
    weight: float = Field(gt=0, le=1_000_000)
    """How often it is drawn, against the others of its characteristic."""
    sets: Mapping[Characteristic, Phrase] = {}
    """Other fields of the profile that come with it.

    None of them is a characteristic itself.
    """


Levels = Annotated[Mapping[str, Level], Field(min_length=1)]


class Drawn(Block):
    """Patients whose profiles are drawn from declared distributions."""

    count: int = Field(ge=1, le=100_000)
    """How many patients."""
    characteristics: Mapping[Characteristic, Levels] = Field(min_length=1)
    """For each its levels, with their weights.

    Levels are drawn, and the generator reads them, in this order; weights need not sum to one.
    """
    never: tuple[Annotated[Mapping[str, str], Field(min_length=1)], ...] = ()
    """Levels by characteristic that no patient has together.

    Fields that levels set count, too. Such a patient is drawn anew, but for what is balanced.
    """
    balanced: tuple[Characteristic, ...] = ()
    """Characteristics whose levels are dealt in turn.

    The seed shuffles them. Whatever its weight, each level comes as often as any other, or once
    more.
    """
    profile: str | None = None
    """A prompt file that makes the profile of `name` and `characteristics`, without any call.

    Training patients need none: the generator writes their profiles.
    """
    names: tuple[PersonName, ...] = ()
    """A name for each patient.

    Where the generator writes the profiles it may choose the names, too.
    """

    @model_validator(mode="after")
    def _what_goes_together(self) -> Drawn:
        refuse_all(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        again = twice(self.names)
        if again is not None:
            yield f"names: expected each name once, found {again!r} twice"
        if self.names and len(self.names) < self.count:
            yield f"names: expected at least {self.count}, found {len(self.names)}"
        unknown = [*self._not_balanced(), *self._set_twice(), *self._never_there()]
        yield from unknown
        if not unknown and self._never_drawn():
            yield f"never: expected to leave some patients, {DRAWS:,} draws left none"

    def _never_drawn(self) -> bool:
        """Whether what never goes together leaves nobody, or nobody with a level that is dealt."""
        levels = [sorted(self.characteristics[name]) for name in self.balanced]
        combined = islice(product(*levels), COMBINED)
        dealt = (dict(zip(self.balanced, one, strict=True)) for one in combined)
        return any(self._filled(one, random.Random(0)) is None for one in dealt)

    def _not_balanced(self) -> Iterator[str]:
        again = twice(self.balanced)
        if again is not None:
            yield f"balanced: expected each once, found {again!r} twice"
        for name in self.balanced:
            if name not in self.characteristics:
                known = ", ".join(self.characteristics)
                yield f"balanced: expected characteristics ({known}), found {name!r}"

    def _set_twice(self) -> Iterator[str]:
        for name, levels in self.characteristics.items():
            for level, known in levels.items():
                for other in known.sets.keys() & (self.characteristics.keys() - {name}):
                    yield (
                        f"characteristics.{name}.{level}.sets.{other}: expected a field that is "
                        "no characteristic itself"
                    )

    def _never_there(self) -> Iterator[str]:
        fields: dict[str, set[str]] = {}
        for name, levels in self.characteristics.items():
            for level, known in levels.items():
                for field, value in {name: level, **known.sets}.items():
                    fields.setdefault(field, set()).add(value)
        for number, pair in enumerate(self.never):
            for field, value in pair.items():
                if field not in fields:
                    yield f"never.{number}.{field}: expected one of {', '.join(sorted(fields))}"
                elif value not in fields[field]:
                    yield (
                        f"never.{number}.{field}: expected one of "
                        f"{', '.join(sorted(fields[field]))}, found {value!r}"
                    )

    def draw(self, which: str, seed: int, number: int) -> dict[str, str] | None:
        """The fields of patient `number` (from 1) of those called `which`: what is balanced as it
        is dealt, each other characteristic by its weights.

        What never goes together is drawn anew. None where nothing else was found. The order in
        which levels are declared does not matter.
        """
        dealt = {name: self._dealt(name, seed_of(seed, which), number) for name in self.balanced}
        return self._filled(dealt, random.Random(seed_of(seed, which, number)))

    def _filled(self, dealt: Mapping[str, str], rng: random.Random) -> dict[str, str] | None:
        """What is dealt, and a draw of all else that goes together with it."""
        for _ in range(DRAWS):
            found: dict[str, str] = {}
            for name, levels in self.characteristics.items():
                level = dealt.get(name) or _by_weight(levels, rng)
                found |= {name: level, **levels[level].sets}
            if not any(pair.items() <= found.items() for pair in self.never):
                return found
        return None

    def _dealt(self, name: str, seed: int, number: int) -> str:
        """The level of a balanced characteristic: each once before any comes again."""
        levels = sorted(self.characteristics[name])
        block, place = divmod(number - 1, len(levels))
        random.Random(seed_of(seed, name, block)).shuffle(levels)
        return levels[place]

    def persona(self, fields: Mapping[str, str]) -> str:
        """What a patient is besides what is balanced: patients that are alike in it are one person
        in several situations.
        """
        names = [name for name in self.characteristics if name not in self.balanced]
        return ", ".join(fields[name] for name in names)


def _by_weight(levels: Mapping[str, Level], rng: random.Random) -> str:
    ordered = sorted(levels.items())
    return rng.choices([level for level, _ in ordered], [one.weight for _, one in ordered])[0]


class TrainingPatients(Drawn):
    """Patients whose courses are generated.

    Each has one course.
    """

    narrative_chars: Chars = (200, 4000)
    """Shortest and longest narrative in characters.

    Where the generator writes the profile.
    """
    most_alike: float | None = Field(None, gt=0, lt=1)
    """How like an earlier narrative one may be.

    From 0 (nothing in common) to 1 (the same). One that is more like it is written anew, so often
    as the generator has attempts. None: they are not compared.
    """


class DrawnPatients(Drawn):
    """Simulated patients that are drawn, too, with the study's seed, when the file is read."""

    profile: str
    """A prompt file that makes the profile of `name` and `characteristics`."""
    names: tuple[PersonName, ...]
    """A name for each patient."""


class SimulatedPatient(Block):
    """A patient of the simulation: fixed, and disjoint from the training patients."""

    name: PersonName
    """Full name, in any script; also part of the keys.

    Keys hold its letters and digits in lower case, and hyphens for all else (`王芳`, `jörg-maier`).
    """
    profile: str = Field(min_length=40, max_length=LONGEST_TEXT)
    """Who the patient is, as the patient model reads it."""


class Patients(Block):
    """Both sets of patients."""

    training: TrainingPatients | None = None
    """Their courses are generated. Tuning needs them."""
    simulated: tuple[SimulatedPatient, ...] = ()
    """With whom the arms' sessions are held.

    Without them and `drawn`: the training patients of `dataset.test`, who are not trained on.
    They are disjoint from the training patients: a shared first name is refused.
    """
    drawn: DrawnPatients | None = None
    """Such patients, drawn, besides those of `simulated` or in place of them.

    The study's seed draws them, when the file is read.
    """
