"""People as raters: which sessions wait for ratings that are brought in by import."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cbt_ray.count import many
from cbt_ray.errors import PeopleAwaited
from cbt_ray.study import Study
from cbt_ray.study.lesson import split_of
from cbt_ray.study.scheduled import seeds_of
from cbt_ray.unit import Key, Stage
from cbt_ray.work.rating_id import parse_rating_id
from cbt_ray.work.survey import State, Survey


@dataclass(frozen=True)
class Handed:
    """How far a rater that is people has come."""

    rater: str
    rated: int
    """Sessions with a rating of the words that are there now."""
    held: int
    """Sessions that there are to rate."""
    wanted: int
    """Sessions that the analysis waits for."""

    @property
    def owed(self) -> bool:
        """Whether the analysis waits."""
        return self.rated < self.wanted


def handed(survey: Survey) -> Iterator[Handed]:
    """Each rater that is people; `survey` holds sessions and ratings."""
    study, rated = survey.keys.study, dict[str, set[Key]]()
    sessions = {entry.key.id: entry for entry in survey.stages[Stage.SESSIONS]}
    for entry in survey.stages[Stage.RATINGS]:
        if survey.keys.is_imported(entry.key) and entry.head is not None:
            session, rater, _, _ = parse_rating_id(entry.key.id)
            of = sessions.get(session)
            if of and of.digest and entry.head.made_from == {str(of.key): of.digest}:
                rated.setdefault(rater, set()).add(of.key)
    held = sum(entry.state is State.DONE for entry in sessions.values())
    for name, people in study.people.items():
        wanted = held if people.sessions == "all" else min(1, held)
        yield Handed(name, len(rated.get(name, ())), held, wanted)


def said(study: Study, one: Handed) -> str:
    """How far they have come, and what brings their ratings in."""
    told = f"raters.{one.rater}: people have rated {one.rated} of {many(one.held, 'session')}"
    how = f"cbt-ray import ratings FILE.csv {study.file} --judge {one.rater}"
    return f"{told}; bring their ratings in with: {how}" if one.owed else told


def must_be_rated(survey: Survey) -> None:
    """Raise PeopleAwaited where the analysis waits for people."""
    study = survey.keys.study
    if waiting := [said(study, one) for one in handed(survey) if one.owed]:
        raise PeopleAwaited(f"analysis: {'; '.join(waiting)}")


def asked_of_people(study: Study) -> Iterator[str]:
    """Lines of `plan`: how many sessions people are to rate, and have rated, as far as the study
    file knows.
    """
    chains = len(study.simulated) * study.sessions.replicates
    held = sum(len(seeds_of(study, arm)) for arm in study.arms) * chains * study.sessions.count
    known = study.imported.judges if study.imported else {}
    for name, people in study.people.items():
        units = known[name].ratings if name in known else {}
        rated = len({parse_rating_id(unit)[0] for unit in units})
        yield (
            f"raters.{name}: people are to rate {people.sessions} of {many(held, 'session')} on "
            f"{', '.join(people.scales)}, ratings of {rated} are imported"
        )


def taught(study: Study) -> Iterator[str]:
    """Lines of `plan` and `status`: whom a judge learns from, and so never rates."""
    for name, judge in study.judges.items():
        if judge.tuned and judge.model is not None:
            split = split_of(study, judge.model)
            if not split.train:
                continue
            yield (
                f"raters.{name}: learns from ratings of {many(len(split.train), 'patient')}, whom "
                f"it never rates, and is compared with people on {len(split.held_out)}; "
                f"models.{judge.model}.learns.held_out decides how many"
            )
