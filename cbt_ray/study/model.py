"""Models that are tuned, the arms that compare them, the dataset and the analysis."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from cbt_ray.study.block import Block, Name, Seed, Share
from cbt_ray.study.contrast import Contrast
from cbt_ray.study.endpoint import Sampling
from cbt_ray.study.recipe import Recipe
from cbt_ray.study.search import Tried, suffix_of, told


class Learns(Block):
    """Ratings by people, from which a model learns to judge.

    Split by patient, by the study's seed.
    """

    ratings: Name
    """A rater that is `people`; each of its ratings is an example."""
    held_out: float = Field(0.3, gt=0, lt=1)
    """Share of the rated patients that is not learned from, at least one.

    On their sessions the judge is compared with people.
    """


class Model(Block):
    """One base model of the study."""

    recipe: Recipe
    """How it is tuned."""
    seeds: int = Field(1, ge=1, le=100)
    """Checkpoints: of the recipe's seed, the next, and so on."""
    form: str | None = None
    """A name under `forms`: how it is trained to reply."""
    learns: Learns | None = None
    """Whose ratings it learns to judge from; none: a therapist, which learns from the courses."""


class Checkpoint(NamedTuple):
    """A model as it is exported."""

    model: str
    tuned: bool
    seed: int = 0
    """Number of the training seed, from 0: what is added to the recipe's `seed`."""
    tried: Tried = ()
    """Of a candidate of a search: what it has in place of the recipe's own values."""

    @property
    def model_of(self) -> Checkpoint:
        """The model that a candidate may become."""
        return self._replace(tried=())

    @property
    def kind(self) -> str:
        """`tuned`, or `instruct`: the recipe's `compare`, exported the same way."""
        return kind_of(self.tuned)

    @property
    def id(self) -> str:
        """What it is called in keys and files."""
        return f"{self.model}-{self.kind}{self.suffix}"

    @property
    def title(self) -> str:
        """What people read."""
        seed = [f"seed + {self.seed}"] if self.seed else []
        tried = [told(self.tried)] if self.tried else []
        return ", ".join([f"{self.model} {self.kind}", *seed, *tried])

    @property
    def suffix(self) -> str:
        """What tells it from the checkpoint of the first seed and the recipe's own values."""
        return seed_suffix(self.seed) + suffix_of(self.tried)


def parted(
    personas: Mapping[str, str], seed: int, held_out: float, test: float = 0.0
) -> tuple[frozenset[str], frozenset[str]]:
    """The patients that are held out, and those that are tested; drawn by the seed.

    `personas`: patient -> persona; patients of one persona stay together, so that shares are met as
    nearly as they can be. At least one is held out where a share is asked for and there are two,
    one tested where a share is asked for and there are three.
    """
    together: dict[str, list[str]] = {}
    for patient in sorted(personas):
        together.setdefault(personas[patient], []).append(patient)
    groups, total = list(together.values()), len(personas)
    random.Random(seed).shuffle(groups)
    held = min(max(1, round(held_out * total)), total - 1) if held_out and total > 1 else 0
    tested = min(max(1, round(test * total)), total - held - 1) if test else 0
    return _taken(groups, held), _taken(groups, max(tested, 0))


def _taken(groups: list[list[str]], count: int) -> frozenset[str]:
    """So many patients, in whole groups, from the first on; what is taken is taken out.

    Where none is so small the smallest is, unless it is the last.
    """
    found: list[str] = []
    for group in list(groups):
        if len(found) + len(group) <= count and len(groups) > 1:
            groups.remove(group)
            found += group
    if count and not found and len(groups) > 1:
        smallest = min(groups, key=len)
        groups.remove(smallest)
        found = smallest
    return frozenset(found)


def kind_of(tuned: bool) -> str:
    """The kind of therapist."""
    return "tuned" if tuned else "instruct"


def seed_suffix(seed: int) -> str:
    """What a training seed adds to names; nothing for the first."""
    return f"-t{seed}" if seed else ""


Level = Annotated[str, Field(min_length=1, max_length=60)]


class Arm(Block):
    """One therapist configuration."""

    name: Name
    """The name in keys and figures; the judge never reads it."""
    model: str | None = None
    """A name under `models`; none: the endpoint's model as it is."""
    tuned: bool = False
    """Trained as the recipe says; else the recipe's `compare`.

    That is so where `gguf: finetuned` answers; another endpoint has the model that it has.
    """
    endpoint: str | None = None
    """Where its therapist answers, if not where `roles.therapist` does."""
    sampling: Sampling | None = None
    """Another sampling than `roles.therapist` has."""
    prompt: str | None = None
    """Another system prompt than its form's, or therapist.j2 of the study's language."""
    form: str | None = None
    """A name under `forms`: how it replies. A tuned model replies as it was trained."""
    factors: Mapping[Name, Level] = {}
    """The level of each factor, in all arms or in none."""

    @property
    def kind(self) -> str:
        """`tuned` or `instruct`."""
        return kind_of(self.tuned)


class Dataset(Block):
    """What of the courses is trained on, and how it is split."""

    format: Literal["session", "turn", "paper"] = "session"
    """What an example is.

    `session`: an example a session, loss on therapist turns, split by patient. `turn`: an example a
    therapist turn after what was said before it, loss on the whole reply with its hidden parts,
    split by patient; a form with hidden parts needs it. `paper`: an example
    a therapist turn with the history before it, loss on all text, random split; it repeats its
    text and leaks between splits.
    """
    held_out: Share = 0.1
    """Share whose loss is measured at each epoch and that is never trained on.

    By it a recipe's best epoch is chosen (`keep: best`).
    With the formats `session` and `turn` whole patients are held out, at least one unless it is 0.
    """
    test: Share = 0.0
    """Share whose loss is measured, too, and that is never trained on.

    Sessions are held with these patients where the file has no others to simulate.
    """
    seed: Seed = 42
    """Of the split."""

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Dataset:
        if self.held_out + self.test >= 1:
            raise ValueError(
                f"held_out: expected held_out + test below 1, found {self.held_out + self.test:g}"
            )
        return self


class Analysis(Block):
    """How scores are analysed; declared before the first rating, or marked as post hoc."""

    level: float = Field(0.95, gt=0.5, lt=1)
    """Of the intervals."""
    unrated: Literal["missing", "lowest"] = "missing"
    """What an unrated session counts as in the headline.

    The other answers are shown, too. `lowest` gives the lowest score to what the chain lost
    (rejected, not reached, nothing to rate). Sessions that a judge failed on or did not rate, or
    that are absent from imported data, stay missing.
    """
    judge: str | None = None
    """Whose ratings make the headline; none: the first of `raters`.

    It is one of `raters`, or somebody whose ratings were imported.
    """
    outcomes: tuple[str, ...] = ()
    """Measures; the first is the headline.

    A measure is `rater.scale.measure`, or shorter where that is clear. Arms are compared in each.
    Without any: the first measure of the headline's rater.
    """
    primary_outcomes: int = Field(1, ge=1, le=1000)
    """So many of the outcomes, from the first, are primary.

    Holm goes over the primary contrasts of all of them.
    """
    contrasts: tuple[Contrast, ...] | None = None
    """What is compared. `[]`: the study only describes.

    Without it: the one factor of two levels, or whether the model was tuned.
    """
    thorough: bool = False
    """Refit the chain model to 999 simulated studies, too.

    It takes some seconds more.
    """
