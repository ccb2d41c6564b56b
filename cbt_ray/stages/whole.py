"""The whole study: all stages in their order, and what they cost."""

from __future__ import annotations

from collections.abc import Callable

from cbt_ray.llm.request import Usage
from cbt_ray.stages.preflight import finished, preflight
from cbt_ray.terminal import table
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.usage import Costs


def evaluate(bench: Bench, *, retry_rejected: bool = False) -> None:
    """Make the judges that are no endpoint's own, rate and analyse.

    The analysis is made even where an arm has too few ratings: then BelowMinimum is raised after
    it.
    """
    from cbt_ray.errors import GateFailed
    from cbt_ray.stages.analyse import analyse_scores, require_ratings
    from cbt_ray.stages.rate import rate_sessions

    failed: GateFailed | None = None
    for model in bench.keys.judge_models:
        try:
            make_models(bench, model, retry_rejected=retry_rejected)
        except GateFailed as error:
            failed = failed or error  # what it was to rate is not reached; the others go on
    rate_sessions(bench, retry_rejected=retry_rejected)
    analyse_scores(bench)
    require_ratings(bench)
    if failed:
        raise failed


def make_models(bench: Bench, model: str | None = None, *, retry_rejected: bool = False) -> None:
    """Train and export what is owed, of one model or of all but those that learn from ratings.

    Raises GateFailed after the last that could be made.
    """
    from cbt_ray.errors import GateFailed
    from cbt_ray.stages.export import export
    from cbt_ray.stages.judged import wanted
    from cbt_ray.stages.train import train

    failed: GateFailed | None = None
    tuned = any(made.tuned for made in wanted(bench, model))
    for stage in (train, export) if tuned else (export,):
        try:
            stage(bench, model, retry_rejected=retry_rejected)
        except GateFailed as error:
            failed = failed or error
    if failed:
        raise failed


def run_study(bench: Bench, say: Callable[[str], object]) -> None:
    """Run all stages; each does only what is owed.

    Says at the end where the report lies and what the study cost.
    """
    from cbt_ray.errors import BelowMinimum, CbtRayError, GateFailed, Owed
    from cbt_ray.stages.dataset import make_dataset
    from cbt_ray.stages.fetch import fetch
    from cbt_ray.stages.generate import generate
    from cbt_ray.stages.report import write_report
    from cbt_ray.stages.simulate import simulate

    if not finished(bench):
        bench.prove(preflight(bench))
        fetch(bench)  # before the courses are paid for: a hub that refuses is heard of at once
    if bench.keys.course_chains():
        generate(bench)
        make_dataset(bench)
    ended: CbtRayError | None = None
    try:
        if bench.keys.therapists:
            make_models(bench)
    except GateFailed as error:
        ended = error  # its arm is not reached; the others go on
    simulate(bench)
    try:
        evaluate(bench)
    except (BelowMinimum, GateFailed) as error:
        ended = ended or error  # the report says so, too, so it is written first
    try:
        where = write_report(bench)
    except Owed as error:
        raise ended or error from None  # what ended it says why there is no analysis
    print_costs(bench, say)
    say(f"report: {where}")
    if ended:
        raise ended


def print_costs(bench: Bench, say: Callable[[str], object]) -> None:
    """Print calls, tokens, dollars and seconds of each stage, over all runs of the study."""
    costs = Costs(bench.store, bench.study.study)
    # Profiles are written by the same jobs as courses, whose time holds theirs.
    rows = [
        _row(stage, costs.usage[stage], costs.wall[stage])
        for stage in Stage
        if stage in costs.usage or stage in costs.wall
    ]
    rows.append(_row("all", costs.total, sum(costs.wall.values())))
    for line in table(("stage", "calls", "prompt", "reply", "dollars", "wall s"), rows):
        say(line)


def _row(name: str, used: Usage, seconds: float) -> list[str]:
    counts = (used.calls, used.prompt_tokens, used.reply_tokens)
    dollars = "unknown" if used.unpriced else f"{used.cost:,.2f}"
    return [name, *(f"{count:,}" for count in counts), dollars, f"{seconds:,.1f}"]
