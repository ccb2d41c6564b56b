"""Plan: what a study will call and cost, and how long it takes, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.planning.calls import StageCalls
from cbt_ray.planning.effect import outcomes_of, smallest_effect
from cbt_ray.planning.estimate import estimate
from cbt_ray.planning.gpu import Gpu, hours_on, least_gib
from cbt_ray.planning.nodes import Nodes, forecast
from cbt_ray.study import Study
from cbt_ray.study.confound import told
from cbt_ray.study.licence import published_name
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.recipe import Recipe
from cbt_ray.study.scheduled import checkpoints
from cbt_ray.study.search import LEAKS
from cbt_ray.terminal import table
from cbt_ray.work.people import asked_of_people, taught
from cbt_ray.work.workshop import prompts_of

UNKNOWN = "of unknown cost (no price is known for an endpoint; `price` in the study file gives it)"


def print_plan(
    study: Study,
    say: Callable[[str], object],
    nodes: Collection[Nodes] = (),
    gpu: Gpu | None = None,
) -> None:
    """Print the estimates, how long the stages take on nodes, and trainings on a GPU.

    Raises InputError where a model must not be tuned, after all is said.
    """
    estimates, refused = estimate(study), _refusals(study)
    lines = [
        *_stages(study, estimates),
        *_in_all(study, estimates),
        *(line for some in nodes for line in _on(study, estimates, some)),
        *_training(study, refused, gpu),
        *(_hours(study, gpu) if gpu else ()),
        *outcomes_of(study),
        *asked_of_people(study),
        *taught(study),
        *smallest_effect(study),
        *(f"confounded: {line}" for line in told(study)),
    ]
    for line in lines:
        say(line)
    if refused:
        raise InputError(*refused.values())


def plan_document(
    study: Study, nodes: Collection[Nodes] = (), gpu: Gpu | None = None
) -> dict[str, Any]:
    """The estimates as one object: calls, tokens, dollars and seconds by stage, on nodes, and of
    trainings on a GPU.
    """
    estimates = estimate(study)
    return {
        "study": study.study,
        "stages": {
            one.stage.value: {
                **{"calls": one.calls, "prompt_tokens": one.prompt_tokens},
                **{"reply_tokens": one.reply_tokens, "dollars": one.cost(study)},
                **{"critical_path_s": one.path(study), "jobs_at_once": one.at_once(study)},
            }
            for one in estimates
        },
        "nodes": [
            {
                **asdict(some),
                "stages": {
                    one.stage.value: asdict(forecast(study, one, some)) for one in estimates
                },
            }
            for some in nodes
        ],
        **({"trainings": _trainings_on(study, gpu)} if gpu else {}),
        "refused": list(_refusals(study).values()),
        "confounds": told(study),
    }


def _stages(study: Study, estimates: Sequence[StageCalls]) -> Iterator[str]:
    """A table, a line each."""
    head = ("stage", "calls", "prompt", "reply", "dollars", "critical path", "jobs at once")
    yield from table(head, (_row(study, one) for one in estimates))


def _row(study: Study, one: StageCalls) -> list[str]:
    cost = one.cost(study)
    counts = (one.calls, one.prompt_tokens, one.reply_tokens)
    dollars = "unknown" if cost is None else f"{cost:,.2f}"
    path = _time(one.path(study))
    return [
        one.stage,
        *(f"{count:,.0f}" for count in counts),
        dollars,
        path,
        f"{one.at_once(study):,}",
    ]


def _in_all(study: Study, estimates: Sequence[StageCalls]) -> Iterator[str]:
    """Sums, how they were counted, and whether the budget holds them."""
    calls = sum(one.calls for one in estimates)
    tokens = sum(one.prompt_tokens + one.reply_tokens for one in estimates)
    costs = [one.cost(study) for one in estimates]
    cost = None if None in costs else sum(known or 0 for known in costs)
    dollars = f"${cost:,.2f}" if cost is not None else UNKNOWN
    path = sum(one.path(study) for one in estimates)
    rest = " without training" if any(arm.tuned for arm in study.arms) else ""
    counts = f"{many(calls, 'call')}, {many(tokens, 'token')}"
    yield f"in all: {counts}, {dollars}; {_time(path)} at best{rest}"
    yield "critical path: with as many jobs at once as are useful, at the endpoints' expected_speed"
    yield _counted_by(estimates)
    yield from _against_budget(study, {"calls": calls, "tokens": tokens, "cost": cost})


def _on(study: Study, estimates: Sequence[StageCalls], nodes: Nodes) -> Iterator[str]:
    """How long the stages that call models take there, and why not less."""
    machines = f"{many(nodes.number, 'node')} of {many(nodes.cores, 'CPU')}"
    yield f"on {machines}, from the first call to the last answer:"
    for one in estimates:
        found = forecast(study, one, nodes)
        yield (
            f"  {one.stage:<10} {_time(found.seconds):>9}, {found.at_once} at once; "
            f"limited by {found.limit}"
        )


def _counted_by(estimates: Sequence[StageCalls]) -> str:
    """How tokens were counted, by endpoint."""
    ways = {
        (call.role.endpoint, call.own)
        for one in estimates
        for same in one.chains
        for call in same.calls
    }
    own = sorted({name for name, counted in ways if counted})
    rest = sorted({name for name, counted in ways if not counted})
    said = [f"by the tokenizer of {', '.join(own)}"] if own else []
    said += [f"by length for {', '.join(rest)}"] if rest else []
    return f"tokens: counted {' and '.join(said)}" if said else "tokens: none"


def _training(study: Study, refused: Mapping[Checkpoint, str], gpu: Gpu | None) -> Iterator[str]:
    """Of each model that is tuned: what it is chosen from, the memory it needs, and the name that
    it gets.
    """
    for made in _tuned(study):
        recipe, several = study.models[made.model].recipe, len(study.candidates(made))
        of = f"{many(several, 'candidate')}, the best is kept; " if recipe.search else ""
        named = (
            f"refused: {refused[made]}"
            if made in refused
            else f"published as {published_name(study, made)}"
        )
        yield f"training {made.model}{made.suffix}: {of}{_memory(recipe, gpu)}; {named}"
    searched = [made.model for made in _tuned(study) if study.models[made.model].recipe.search]
    if searched and study.dataset.format == "paper":
        yield f"search of {', '.join(dict.fromkeys(searched))}: {LEAKS}"


def _memory(recipe: Recipe, gpu: Gpu | None) -> str:
    """The memory that a training needs, as far as it is known, and whether a GPU lacks it."""
    told, least = recipe.memory_gib, least_gib(recipe)
    said = (
        "memory not known (`memory_gib` in the recipe)"
        if told is None
        else f"needs {told:g} GiB of memory"
    )
    if least is not None and least > (told or 0) and (told or gpu):
        bits = 4 if recipe.load_4bit else 16
        said += f", its weights and CUDA alone take {least:.1f} GiB in {bits} bit"
    if gpu and max(told or 0, least or 0) > gpu.memory_gib:
        said += f", more than the {gpu.memory_gib:.1f} GiB of an {gpu.name}"
    return said


def _hours(study: Study, gpu: Gpu) -> Iterator[str]:
    """How long each training takes there, and where that is from."""
    for made in _tuned(study):
        found = hours_on(study, made, gpu, prompts_of(study))
        if found.hours is None:
            missing = "what it is trained on" if found.tokens is None else "the model's size"
            yield f"training {found.model} on {gpu.name}: not known, nor is {missing}"
            continue
        price = "" if found.dollars is None else f", ${found.dollars:,.2f}"
        of = f" of {many(found.trainings, 'training')}" if found.trainings > 1 else ""
        yield (
            f"training {found.model} on {gpu.name}: {_time(3600 * found.hours)}{price}, "
            f"{many(found.tokens or 0, 'token')}{of}; its speed is {gpu.source}"
        )


def _trainings_on(study: Study, gpu: Gpu) -> list[dict[str, Any]]:
    prompts = prompts_of(study)
    return [
        {**asdict(hours_on(study, made, gpu, prompts)), "gpu": gpu.name, "speed": gpu.source}
        for made in _tuned(study)
    ]


def _tuned(study: Study) -> list[Checkpoint]:
    return [made for made in checkpoints(study) if made.tuned]


def _refusals(study: Study) -> dict[Checkpoint, str]:
    """Models that must not be tuned, and why."""
    found = {}
    for made in _tuned(study):
        try:
            published_name(study, made)
        except InputError as error:
            found[made] = str(error)
    return found


def _against_budget(study: Study, planned: dict[str, float | None]) -> Iterator[str]:
    """Where the study would stop at its budget."""
    for name, takes in planned.items():
        limit = getattr(study.budget, name)
        if limit is not None and takes is not None and takes > limit:
            yield (
                f"budget.{name} is {limit:g}: the study would stop before its end, at "
                f"{limit / takes:.0%} of what it takes"
            )


def _time(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
