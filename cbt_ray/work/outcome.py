"""Outcomes: the measures that a study's analysis is about, the first of them its headline."""

from __future__ import annotations

from dataclasses import dataclass

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts
from cbt_ray.rating.measure import Measure, Number
from cbt_ray.rating.scale import Item, Scale
from cbt_ray.rating.scale_file import load_scale
from cbt_ray.study import Study


@dataclass(frozen=True)
class Headline:
    """The measure that the headline rests on, its scale, the items that it is made of, and its
    lowest and highest value.
    """

    measure: Measure
    scale: Scale
    items: tuple[Item, ...]
    low: Number
    high: Number

    @property
    def name(self) -> str:
        """The measure's name."""
        return self.measure.name


def headline(study: Study, prompts: Prompts) -> Headline:
    """What the study's headline rests on.

    Raises InputError where the study file names a measure that the scale has not, or first one that
    has no lowest or no highest value: what is lost could not be bounded.
    """
    scale = load_scale(prompts, study.judge.scale)
    known = {measure.name: measure for measure in scale.measures}
    outcomes = study.analysis.outcomes or (scale.measures[0].name,)
    where = f"{study.file}: analysis.outcomes"
    problems = [
        f"{where}.{number}: expected a measure of {scale.name} ({', '.join(known)}), found "
        f"{outcome!r}"
        for number, outcome in enumerate(outcomes)
        if outcome.removeprefix(f"{scale.name}.") not in known
    ]
    if problems:
        raise InputError(*problems)
    measure = known[outcomes[0].removeprefix(f"{scale.name}.")]
    low, high = scale.ends[measure.name]
    if low is None or high is None:
        raise InputError(
            f"{where}.0: expected a measure with a lowest and a highest value, {measure.name} of "
            f"{scale.name} has none; name another one first"
        )
    return Headline(measure, scale, scale.items_of(measure.name), low, high)
