"""Status: what became of each stage's units, why units are owed, how far trainings are, and what
else lies in the store under the study's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from cbt_ray.training.live import Record, read_record
from cbt_ray.unit import Key, Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.cause import NEVER, causes
from cbt_ray.work.origin import named
from cbt_ray.work.people import handed, said
from cbt_ray.work.survey import State, Survey

MOST_SHOWN = 10


def print_status(
    bench: Bench,
    say: Callable[[str], object],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Print the table, and a line for each training that is under way or was interrupted."""
    survey = bench.survey(*Stage)
    say(f"{bench.study.study} in {bench.store.url}")
    say(
        f"{'stage':<10} {'done':>6} {'rejected':>9} {'not reached':>12} {'owed':>6}  reasons of "
        "rejection"
    )
    for stage in Stage:
        if not survey.stages[stage]:
            continue  # no arm needs it
        counts, reasons = survey.counts(stage), survey.reasons(stage)
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        done, rejected, not_reached, owed = (counts[state] for state in State)
        say(f"{stage:<10} {done:>6} {rejected:>9} {not_reached:>12} {owed:>6}  {why}".rstrip())
    for line in _why_owed(survey):
        say(line)
    for one in handed(survey):
        say(said(bench.study, one))
    for line in _trainings(bench, survey, now()):
        say(line)
    others = _others(survey)
    if others:
        say(
            f"{others} other units lie in the store: made by another version of the study file, "
            "left alone and not analysed"
        )


def status_document(bench: Bench) -> dict[str, Any]:
    """The same as one object: units by stage and state, and why they were rejected or are owed."""
    survey = bench.survey(*Stage)
    stages = {
        stage.value: {
            **{state.value: survey.counts(stage)[state] for state in State},
            "reasons": dict(survey.reasons(stage)),
        }
        for stage in Stage
        if survey.stages[stage]
    }
    return {
        "study": bench.study.study,
        "store": bench.store.url,
        "stages": stages,
        "owed": list(_why_owed(survey)),
    }


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
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        yield f"{named(keys[0])}{more}: {why}"
    if left := list(reasons.values())[MOST_SHOWN:]:
        yield f"and {sum(map(len, left))} more, for {len(left)} other reasons"
    if waiting:
        yield (
            f"{waiting} of those owed are there, but were made from units that are owed; they "
            "stay if these come out as before"
        )
    if never:
        yield f"{NEVER}: " + ", ".join(f"{count} {stage}" for stage, count in never.items())


def _trainings(bench: Bench, survey: Survey, now: datetime) -> Iterator[str]:
    """One line a training that has made a step and has no model yet."""
    owed = set(survey.owed(Stage.FINETUNE))
    for made in bench.keys.finetunes:
        key = bench.keys.finetune(made)
        if made.tuned and key in owed and (record := read_record(bench.store, key)).steps:
            yield f"training {made.model}{made.suffix}: {_far(record, now)}"


def _far(record: Record, now: datetime) -> str:
    """How far it is, from its last step; the held-out loss is the last one that was taken."""
    last = record.steps[-1]
    held_out = next(
        (step.held_out for step in reversed(record.steps) if step.held_out is not None), None
    )
    parts = [
        f"step {last.step} of {last.steps}",
        f"loss {last.loss:.3f}" if last.loss is not None else "no finite loss",
        f"held out {held_out:.3f}" if held_out is not None else "",
        f"chosen likelier in {last.preferred:.0%}" if last.preferred is not None else "",
        f"{_spelt(last.left_s)} left" if last.left_s is not None else "",
        f"updated {_spelt((now - record.updated).total_seconds())} ago" if record.updated else "",
    ]
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
