"""Outcomes: the measures that a study's analysis is about, the first of them its headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts
from cbt_ray.rating.measure import Measure, Number
from cbt_ray.rating.scale import Item, Scale, joined
from cbt_ray.rating.scale_file import load_scales
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
    prefix: str
    """What the table of scores puts in front of the names that the scale has."""

    @property
    def name(self) -> str:
        """The measure's name in the table of scores."""
        return self.prefix + self.measure.name


def prefix_of(study: Study, rater: str) -> str:
    """What the table of scores puts in front of a rater's names, so that raters of one scale agree
    in them: the scale, where the study has several and this rater one.

    Imported ratings are on the scales of the rater that is probed.
    """
    own = study.raters.get(rater, study.judge).scales
    several = len({name for one in study.raters.values() for name in one.scales}) > 1
    return f"{own[0]}." if several and len(own) == 1 else ""


def headline(study: Study, prompts: Prompts) -> Headline:
    """What the study's headline rests on.

    Raises InputError where an outcome names no measure of its rater, or more than one, or where the
    first has no lowest or no highest value: what is lost could not be bounded.
    """
    where, problems = f"{study.file}: analysis.outcomes", list[str]()
    scale = joined(load_scales(prompts, study.judge.scales))
    found = [scale.measures[0]]
    for number, outcome in enumerate(study.analysis.outcomes):
        rater = study.rater_of(outcome) or study.headline_judge
        own = study.raters.get(rater, study.judge)
        of = joined(load_scales(prompts, own.scales))
        fitting = _meant(outcome.removeprefix(f"{rater}."), of, own.scales)
        if len(fitting) != 1:
            some = "one" if fitting else "a"
            names = ", ".join(measure.name for measure in fitting or of.measures)
            problems.append(
                f"{where}.{number}: expected {some} measure of {of.name} ({names}), found "
                f"{outcome!r}"
            )
        elif number == 0:
            found = list(fitting)
    if problems:
        raise InputError(*problems)
    measure = found[0]
    low, high = scale.ends[measure.name]
    if low is None or high is None:
        raise InputError(
            f"{where}.0: expected a measure with a lowest and a highest value, {measure.name} of "
            f"{scale.name} has none; name another one first"
        )
    prefix = prefix_of(study, study.probed)
    return Headline(measure, scale, scale.items_of(measure.name), low, high, prefix)


def _meant(name: str, scale: Scale, scales: Sequence[str]) -> list[Measure]:
    """The measures that a name may mean: behind that of its scale, or alone."""
    exact = [one for one in scale.measures if one.name == name]
    if len(scales) == 1:
        bare = name.removeprefix(f"{scales[0]}.")
        return [one for one in scale.measures if one.name == bare]
    return exact or [one for one in scale.measures if one.name.partition(".")[2] == name]
