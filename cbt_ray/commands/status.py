"""Status: what became of each stage's units, why units are owed, how far trainings are, what else
lies in the store under the study's name, and what the study has cost so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cbt_ray.count import agreeing, many
from cbt_ray.stages.searched import best_of, candidates_of, searched
from cbt_ray.study.search import told
from cbt_ray.terminal import table
from cbt_ray.training.live import Record, read_record
from cbt_ray.unit import Key, Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.cause import NEVER, causes
from cbt_ray.work.origin import named
from cbt_ray.work.people import handed, said, taught
from cbt_ray.work.survey import State, Survey
from cbt_ray.work.usage import Costs

MOST_SHOWN = 10


@dataclass
class Status:
    """A study as its store shows it, each time that it is asked."""

    bench: Bench

    def __post_init__(self) -> None:
        self._costs = Costs(self.bench.store, self.bench.study.study)
        self._survey = self.bench.survey(*Stage)

    def renew(self) -> None:
        """Look again."""
        self._costs.renew()
        self._survey = self.bench.survey(*Stage)

    @property
    def settled(self) -> bool:
        """Whether nothing is owed."""
        return not any(map(self._survey.owed, Stage))

    def lines(self, now: datetime) -> Iterator[str]:
        """The table, what is owed and why, trainings, and what it has cost so far."""
        survey, study = self._survey, self.bench.study
        yield f"{study.study} in {self.bench.store.url}"
        head = ("stage", "done", "rejected", "not reached", "owed", "reasons of rejection")
        yield from table(head, map(self._row, self._stages()), words=1)
        yield from _why_owed(survey)
        yield from (said(study, one) for one in handed(survey))
        yield from taught(study)
        yield from map(_searching, _searches(self.bench))
        yield from _trainings(self.bench, survey, now)
        if others := _others(survey):
            yield (
                f"{many(others, 'other unit')} {agreeing(others, 'lies', 'lie')} in the store: "
                "made by another version of the study file, left alone and not analysed"
            )
        yield f"so far: {self._costs.total}"

    def facts(self) -> Iterator[str]:
        """A line for each stage and each training, which says nothing of the time: it is another
        one once something has changed.
        """
        for stage in self._stages():
            done, rejected, not_reached, owed = self._counts(stage)
            counts = {"done": done, "rejected": rejected, "not reached": not_reached, "owed": owed}
            told = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
            used = self._costs.usage.get(stage)
            yield f"{stage}: {told}" + (f"; {used}" if used and used.calls else "")
        yield from map(_searching, _searches(self.bench))
        yield from _trainings(self.bench, self._survey, None)

    def document(self) -> dict[str, Any]:
        """The same as one object: units by stage and state, why they were rejected or are owed, and
        what the study has cost so far.
        """
        survey = self._survey
        stages = {
            stage.value: {
                **dict(zip(map(str, State), self._counts(stage), strict=True)),
                "reasons": dict(survey.reasons(stage)),
            }
            for stage in self._stages()
        }
        return {
            "study": self.bench.study.study,
            "store": self.bench.store.url,
            "stages": stages,
            "searches": list(_searches(self.bench)),
            "owed": list(_why_owed(survey)),
            "spent": self._costs.to_json(),
        }

    def _stages(self) -> list[Stage]:
        """Those that an arm needs."""
        return [stage for stage in Stage if self._survey.stages[stage]]

    def _counts(self, stage: Stage) -> list[int]:
        counts = self._survey.counts(stage)
        return [counts[state] for state in State]

    def _row(self, stage: Stage) -> list[str]:
        reasons = self._survey.reasons(stage).most_common()
        why = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
        return [stage.value, *(f"{count:,}" for count in self._counts(stage)), why]


def print_status(
    bench: Bench,
    say: Callable[[str], object],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Print the table, and a line for each training that is under way or was interrupted."""
    for line in Status(bench).lines(now()):
        say(line)


def _why_owed(survey: Survey) -> Iterator[str]:
    """Why units are owed: a line for each reason in a stage, then how many wait for others, and how
    many were never made.
    """
    reasons: dict[tuple[Stage, str], list[Key]] = {}
    waiting, never = 0, Counter[Stage]()
    for entry, why in causes(survey):
        if entry.head and not entry.outdated:
            waiting += 1
        elif why == NEVER:
            never[entry.key.stage] += 1
        else:
            reasons.setdefault((entry.key.stage, why), []).append(entry.key)
    for (_, why), keys in list(reasons.items())[:MOST_SHOWN]:
        more = f" and {len(keys) - 1:,} more" if len(keys) > 1 else ""
        yield f"{named(keys[0])}{more}: {why}"
    if left := list(reasons.values())[MOST_SHOWN:]:
        yield f"and {sum(map(len, left)):,} more, for {many(len(left), 'other reason')}"
    if waiting:
        there, they = ("is there", "it") if waiting == 1 else ("are there", "they")
        of = agreeing(waiting, "was", "were")
        yield (
            f"{waiting:,} of those owed {there}, but {of} made from units that are owed; {they} "
            f"{agreeing(waiting, 'stays', 'stay')} if these come out as before"
        )
    if never:
        yield f"{NEVER}: " + ", ".join(f"{stage} {count:,}" for stage, count in never.items())


def _searches(bench: Bench) -> Iterator[dict[str, Any]]:
    """Of each search how many candidates are trained; `ahead` has the values of the best so far and
    its held-out loss.
    """
    for made in searched(bench):
        found = candidates_of(bench, made)
        best = best_of(found)
        yield {
            "model": f"{made.model}{made.suffix}",
            "candidates": len(found),
            "trained": sum(one.unit is not None for one in found),
            "ahead": best and {**best.recipe.searched, "loss": best.loss},
        }


def _searching(search: Mapping[str, Any]) -> str:
    """The same in a line."""
    there, of = search["trained"], search["candidates"]
    said = f"search {search['model']}: {there} of {many(of, 'candidate')}"
    ahead = search["ahead"]
    if not ahead or ahead["loss"] is None:
        return said
    is_ = "is" if there == of else "so far is"
    values = told((name, value) for name, value in ahead.items() if name != "loss")
    return f"{said}; the lowest held-out loss {is_} {ahead['loss']:.3f} ({values})"


def _trainings(bench: Bench, survey: Survey, now: datetime | None) -> Iterator[str]:
    """One line a training that has made a step and has no adapter yet; with its age at a time."""
    owed = set(survey.owed(Stage.ADAPTER))
    for made in bench.keys.tuned:
        key = bench.keys.adapter(made)
        if key in owed and (record := read_record(bench.store, key)).steps:
            yield f"training {made.model}{made.suffix}: {_far(record, now)}"


def _far(record: Record, now: datetime | None) -> str:
    """How far it is, from its last step, and the losses by split that were taken last."""
    last, measured = record.steps[-1], record.measured
    parts = [
        f"step {last.step} of {last.steps}",
        f"loss {last.loss:.3f}" if last.loss is not None else "no finite loss",
        f"at {measured[-1].said}" if measured else "",
        f"chosen likelier in {last.preferred:.0%}" if last.preferred is not None else "",
        f"{_spelt(last.left_s)} left" if last.left_s is not None else "",
    ]
    if now is not None and record.updated:
        parts.append(f"updated {_spelt((now - record.updated).total_seconds())} ago")
    return ", ".join(part for part in parts if part)


def _spelt(seconds: float) -> str:
    """A time in the unit that a person would use.

    A clock that goes ahead of this one makes no negative age.
    """
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def _others(survey: Survey) -> int:
    """Units of this study's name that the study file does not derive."""
    own = {str(entry.key) for entries in survey.stages.values() for entry in entries}
    own |= {str(key) for keys in survey.keys.verdicts.values() for key in keys}
    stages = {stage.value for stage in Stage}
    paths = (path for path in survey.present if path.count("/") == 3)
    return sum(path not in own and path.split("/")[1] in stages for path in paths)
