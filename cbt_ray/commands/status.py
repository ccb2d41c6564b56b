"""Status: what became of each stage's units, and what else lies in the store under the study's name."""

from __future__ import annotations

from collections.abc import Callable

from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.survey import State, Survey


def print_status(bench: Bench, say: Callable[[str], object]) -> None:
    """Print the table."""
    survey = bench.survey(*Stage)
    say(f"{bench.study.study} in {bench.store.url}")
    say(f"{'stage':<10} {'done':>6} {'rejected':>9} {'not reached':>12} {'owed':>6}  reasons of rejection")
    for stage in Stage:
        counts, reasons = survey.counts(stage), survey.reasons(stage)
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        done, rejected, not_reached, owed = (counts[state] for state in State)
        say(f"{stage:<10} {done:>6} {rejected:>9} {not_reached:>12} {owed:>6}  {why}".rstrip())
    others = _others(bench, survey)
    if others:
        say(f"{others} other units lie in the store: made by another version of the study file, left alone and not analysed")


def _others(bench: Bench, survey: Survey) -> int:
    """Units of this study's name that the study file does not derive."""
    own = {str(entry.key) for entries in survey.stages.values() for entry in entries}
    stages = {stage.value for stage in Stage}
    paths = (path for path in bench.store.list(f"{bench.study.study}/") if path.count("/") == 3)
    return sum(path not in own and path.split("/")[1] in stages for path in paths)
