"""Outcomes: the measures that a study's analysis is about, the first of them its headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts
from cbt_ray.rating.measure import MeasureKind, Number
from cbt_ray.rating.probe import GUESSES
from cbt_ray.rating.rule import ends_of, kind_of
from cbt_ray.rating.scale import Item, Scale, joined
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.study import Study
from cbt_ray.study.rater import Rulebook


@dataclass(frozen=True)
class Target:
    """What an outcome of the study file is: a measure by a rater, the items that it is made of, and
    what its values are.
    """

    rater: str
    measure: str
    """Its name as the rater has it."""
    title: str
    scale: Scale | None
    """None where rules count."""
    low: Number | None
    high: Number | None
    kind: MeasureKind
    prefix: str
    """What the table of scores puts in front of the names that the rater has."""

    @property
    def name(self) -> str:
        """The measure's name in the table of scores."""
        return self.prefix + self.measure

    @property
    def items(self) -> tuple[Item, ...]:
        """The items that it is made of."""
        return self.scale.items_of(self.measure) if self.scale else ()

    @property
    def source(self) -> str:
        """What it is a measure of: the scale's title, or the rules'."""
        return self.scale.title if self.scale else f"the rules of {self.rater}"

    @property
    def span(self) -> str:
        """Its ends in words."""
        if self.low is None and self.high is None:
            return "without ends"
        if self.low is None or self.high is None:
            return f"at least {self.low:g}" if self.high is None else f"at most {self.high:g}"
        return f"{self.low:g} to {self.high:g}"


def scales_of(study: Study, rater: str) -> tuple[str, ...]:
    """The scales that a rater has; imported ratings are on those by which sessions are rated."""
    own = study.raters.get(rater, study.reader)
    return () if own is None or isinstance(own, Rulebook) else own.scales


def imported_with(study: Study, prompts: Prompts, rater: str | None) -> tuple[Scale, str]:
    """The scale by which somebody's imported ratings are read, and the measure that a table calls
    the total: the headline's where it is of that scale, else its first.

    Raises InputError where the study has no scale.
    """
    names, head = scales_of(study, rater or ""), headline(study, prompts)
    if not names:
        raise InputError(f"{study.file}: raters: expected one with a scale, found rules alone")
    scale = joined(load_scales(prompts, names))
    same = head.scale is not None and scales_of(study, head.rater) == names
    return scale, head.measure if same else scale.measures[0].name


def prefix_of(study: Study, rater: str) -> str:
    """What the table of scores puts in front of a rater's names, so that raters of one scale agree
    in them: the scale, where the study has several and this rater one.

    A rule's names follow its rater.
    """
    if rater in study.rulebooks:
        return f"{rater}."
    own = scales_of(study, rater)
    several = len({name for one in study.raters for name in scales_of(study, one)}) > 1
    return f"{own[0]}." if several and len(own) == 1 else ""


def headline(study: Study, prompts: Prompts) -> Target:
    """What the study's headline rests on; raises InputError as `targets`."""
    return targets(study, prompts)[0]


def first_measure(study: Study, prompts: Prompts, rater: str) -> Target:
    """What a rater says first of a session."""
    return _measures(study, prompts, rater)[0]


def targets(study: Study, prompts: Prompts) -> tuple[Target, ...]:
    """What the study's outcomes are; without any the first measure of the headline's rater.

    Raises InputError where an outcome names no measure of its rater, or more than one, or lacks an
    end that the study needs.
    """
    problems = list[str]()
    found = list[Target]()
    for number, outcome in enumerate(study.analysis.outcomes or (None,)):
        rater = (study.rater_of(outcome) if outcome else None) or study.headline_judge
        known = _measures(study, prompts, rater)
        name = (outcome or known[0].measure).removeprefix(f"{rater}.")
        fitting = _meant(name, known, scales_of(study, rater))
        if len(fitting) == 1:
            found += fitting
            continue
        some = "one" if fitting else "a"
        names = ", ".join(one.measure for one in fitting or known)
        of = known[0].scale.name if known[0].scale else rater
        problems.append(
            f"{study.file}: analysis.outcomes.{number}: expected {some} measure of {of} ({names}), "
            f"found {outcome!r}"
        )
    problems += _unfit(study, found)
    if problems:
        raise InputError(*problems)
    return tuple(found)


def _unfit(study: Study, found: Sequence[Target]) -> list[str]:
    """What the study asks of its outcomes and they cannot give."""
    names = [(one.rater, one.name) for one in found]
    problems = [
        f"{study.file}: analysis.outcomes: expected each measure of a rater once, found {name} "
        "twice"
        for place, (rater, name) in enumerate(names)
        if (rater, name) in names[:place]
    ]
    endless = [one.name for one in found if one.low is None]
    if study.analysis.unrated == "lowest" and endless:
        problems.append(
            f"{study.file}: analysis.unrated: expected missing, since {', '.join(endless)} has no "
            "lowest value"
        )
    probed = study.judges[study.probed].probes.which if study.probed else ()
    measured = [name for name in probed if name not in GUESSES]
    if measured and found and None in (found[0].low, found[0].high):
        problems.append(
            f"{study.file}: raters.{study.probed}.probes.which: expected none but guesses, since "
            f"{found[0].name} has no lowest or no highest value, of whose range thresholds are "
            f"shares; found {', '.join(measured)}"
        )
    return problems


def _measures(study: Study, prompts: Prompts, rater: str) -> list[Target]:
    """Every measure of a rater."""
    prefix = prefix_of(study, rater)
    if (book := study.rulebooks.get(rater)) is not None:
        return [
            Target(rater, name, rule.title or name, None, *ends_of(rule), kind_of(rule), prefix)
            for name, rule in book.rules.items()
        ]
    scale = joined(load_scales(prompts, scales_of(study, rater)))
    return [
        Target(
            rater, one.name, one.title, scale, *scale.ends[one.name], scale.kinds[one.name], prefix
        )
        for one in scale.measures
    ]


def _meant(name: str, known: Sequence[Target], scales: Sequence[str]) -> list[Target]:
    """The measures that a name may mean: with its scale's in front, or alone."""
    exact = [one for one in known if one.measure == name]
    if len(scales) == 1:
        bare = name.removeprefix(f"{scales[0]}.")
        return [one for one in known if one.measure == bare]
    return exact or [one for one in known if one.measure.partition(".")[2] == name]
