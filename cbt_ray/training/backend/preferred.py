"""How a model takes to preference pairs: before a training, at each step, after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cbt_ray.training.backend.job import Job
from cbt_ray.training.backend.orpo import Layout, answers
from cbt_ray.training.gate.prompts import spread
from cbt_ray.training.mask import IGNORED
from cbt_ray.training.preference import FEWEST_PREFERRED, KINDS, Pair, PairFigures

Measured = dict[str, dict[str, float]]
"""Kind of pairs -> figures."""


def measured_pairs(job: Job) -> dict[str, list[Pair]]:
    """The pairs that are measured, by kind: some that it is trained on, and some that it does not
    see, where there are any.
    """
    kinds = {"trained": job.pairs, "held_out": job.held_out_pairs}
    return {kind: spread(of, job.recipe.measured_pairs) for kind, of in kinds.items() if of}


def measure(model: Any, job: Job) -> Measured:
    """How the model as it is now takes to them."""
    beta = job.recipe.orpo_beta
    kinds = measured_pairs(job).items()
    return {kind: asdict(measured(model, pairs, beta)) for kind, pairs in kinds}


def told(job: Job, before: Measured, after: Measured) -> dict[str, Any]:
    """Both as they are kept, with the number of pairs; says what was not reached."""
    count = {kind: len(pairs) for kind, pairs in measured_pairs(job).items()}
    for kind, found in after.items():
        if found["preferred"] < FEWEST_PREFERRED:
            job.say(
                f"warning: {KINDS[kind]} pairs: the chosen answer is likelier in "
                f"{found['preferred']:.0%} of {count[kind]}, so the model still prefers the "
                "rejected ones"
            )
    return {
        kind: {"pairs": count[kind], "before": before.get(kind), "after": found}
        for kind, found in after.items()
    }


def of_steps(entries: Sequence[Mapping[str, float]], beta: float) -> dict[str, list[float]]:
    """What was measured of each step's pairs, by its name; nothing of steps without any."""
    found = [asdict(one) for one in (of_step(entry, beta) for entry in entries) if one is not None]
    return {name: [step[name] for step in found] for name in found[0]} if found else {}


def of_step(entry: Mapping[str, float], beta: float) -> PairFigures | None:
    """What TRL logs of a step's pairs, in our terms; None of a step without any."""
    if "logps/chosen" not in entry:
        return None
    chosen, rejected = entry["logps/chosen"], entry["logps/rejected"]
    return PairFigures(
        preferred=entry["rewards/accuracies"],
        margin=chosen - rejected,
        log_p_chosen=chosen,
        log_p_rejected=rejected,
        nll=entry["nll_loss"],
        odds=-beta * entry["log_odds_ratio"],
    )


def measured(model: Any, pairs: Sequence[Pair], beta: float) -> PairFigures:
    """How a model takes to some pairs, one after the other, without a trace in weights, gradients
    or random numbers.
    """
    import torch

    training, log_p = model.training, list[tuple[float, float]]()
    total, count = 0.0, 0
    model.eval()
    with torch.no_grad():
        for pair in pairs:
            found = answers(model, *_tensors(pair, model.device), Layout())
            log_p.append((float(found.means[0]), float(found.means[1])))
            total -= float(found.log_p[: found.counts[0]].sum())
            count += found.counts[0]
    model.train(training)
    return _figures(log_p, total / count, beta)


def _figures(log_p: Sequence[tuple[float, float]], nll: float, beta: float) -> PairFigures:
    import torch

    chosen, rejected = torch.tensor(log_p, dtype=torch.float64).T
    odds = torch.log(-torch.expm1(chosen)) - torch.log(-torch.expm1(rejected))
    ratio = torch.nn.functional.logsigmoid(chosen - rejected - odds)
    return PairFigures(
        preferred=float((chosen > rejected).double().mean()),
        margin=float((chosen - rejected).mean()),
        log_p_chosen=float(chosen.mean()),
        log_p_rejected=float(rejected.mean()),
        nll=nll,
        odds=-beta * float(ratio.mean()),
    )


def _tensors(pair: Pair, device: Any) -> tuple[Any, Any, Any]:
    """Ids, what is no padding, and labels of the two rows of a pair."""
    import torch

    windows = pair.chosen, pair.rejected
    longest = max(len(one.input_ids) for one in windows)

    def rows(lists: Sequence[list[int]], padding: int) -> Any:
        padded = [one + [padding] * (longest - len(one)) for one in lists]
        return torch.tensor(padded, device=device)

    return (
        rows([one.input_ids for one in windows], 0),
        rows([[1] * len(one.input_ids) for one in windows], 0),
        rows([one.labels for one in windows], IGNORED),
    )
