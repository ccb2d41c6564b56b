"""A search: which values of a recipe are tried, each combination as a candidate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from math import prod
from typing import Annotated, Any

from pydantic import Field, model_validator

from cbt_ray.study.block import Block, refuse_all, twice

LearningRate = Annotated[float, Field(ge=1e-12, le=10)]
Rank = Annotated[int, Field(ge=1, le=4096)]
Epochs = Annotated[float, Field(gt=0, le=10_000)]
MOST = 32
"""Candidates of a search: each is a whole training."""
LEAKS = (
    "held-out examples repeat text that is trained on (`dataset.format: paper`), so their loss "
    "favours what is learnt by heart"
)
Tried = tuple[tuple[str, float], ...]
"""What a candidate has in place of the recipe's own values: field of the search, value."""
_SHORT = {"learning_rate": "lr", "rank": "r", "epochs": "e"}


class Search(Block):
    """Values that are tried in place of the recipe's own, in all combinations.

    Each is a training, and the one with the lowest held-out loss is the model.
    """

    learning_rate: tuple[LearningRate, ...] | None = Field(None, min_length=1)
    """Learning rates."""
    rank: tuple[Rank, ...] | None = Field(None, min_length=1)
    """Ranks of the adapter, `lora.r`.

    `lora.alpha` follows, so that the scale alpha / r stays.
    """
    epochs: tuple[Epochs, ...] | None = Field(None, min_length=1)
    """Times through the training examples."""

    @model_validator(mode="after")
    def _few_and_each_once(self) -> Search:
        refuse_all(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        for name, values in self.values.items():
            if (again := twice(map(plain, values))) is not None:
                yield f"{name}: expected each value once, found {again} twice"
        if (count := prod(map(len, self.values.values()))) > MOST:
            most = max(self.values, key=lambda name: len(self.values[name]))
            yield f"{most}: expected at most {MOST} combinations, found {count}"

    @property
    def values(self) -> Mapping[str, tuple[float, ...]]:
        """The fields that are searched, with what is tried of each."""
        found = {name: getattr(self, name) for name in _SHORT}
        return {name: values for name, values in found.items() if values is not None}

    def tries(self, own: Mapping[str, Any]) -> list[Tried]:
        """What each candidate has in place of a recipe's own values, in the order of the file; the
        last field changes first.
        """
        named = list(self.values)
        return [
            tuple(
                (name, value)
                for name, value in zip(named, values, strict=True)
                if value != own[name]
            )
            for values in product(*self.values.values())
        ]


def suffix_of(tried: Tried) -> str:
    """What a candidate's values add to names: nothing where they are the recipe's own."""
    return "".join(f"-{_SHORT[name]}{plain(value)}" for name, value in tried)


def told(values: Iterable[tuple[str, float]]) -> str:
    """A candidate's values as people read them."""
    return ", ".join(f"{name.replace('_', ' ')} {plain(value)}" for name, value in values)


def plain(value: float) -> str:
    """A number without a needless point, and so the same however it was written."""
    return repr(float(value)).removesuffix(".0")
