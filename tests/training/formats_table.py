"""What the runs of `tests.training.formats` say: work, time and held-out loss of both formats, as a
table in Markdown.

    python -m tests.training.formats_table RESULTS.jsonl

Loss is per therapist token of the held-out patient. An interval is Student's, of 95 %, over the
held-out sessions: each counts once with its mean over the seeds, since neither its tokens nor seeds
on the same text are independent. It says how far a difference holds for other sessions of this
patient, and nothing of other patients.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Run = dict[str, Any]
COLUMNS = (
    "run",
    "form",
    "therapist tokens",
    "tokens processed",
    "a therapist token",
    "CPU s",
    "wall s",
    "held-out loss",
)


def table(runs: Sequence[Run]) -> str:
    """A line a run, then the ratios of work and the differences of loss."""
    rows = [
        row
        for run in sorted(runs, key=lambda run: (run["kind"], run["seed"]))
        for row in _rows(run)
    ]
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return (
        "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
        + "\n\n"
        + "\n".join(_conclusions(runs))
        + "\n"
    )


def _rows(run: Run) -> Iterable[list[str]]:
    for form, losses in run["held_out"].items():
        work = (
            [f"{run[name]:,}" for name in ("therapist_tokens", "tokens")]
            if "tokens" in run
            else ["", ""]
        )
        more = (
            [f"{_share(run):.1f}", f"{run['cpu_s']:.0f}", f"{run['wall_s']:.0f}"]
            if "tokens" in run
            else ["", "", ""]
        )
        yield [
            f"{run['kind']} {run['seed'] or ''}".strip(),
            form,
            *work,
            *more,
            f"{per_token(losses):.4f}",
        ]


def _conclusions(runs: Sequence[Run]) -> Iterable[str]:
    kinds = {
        kind: {run["seed"]: run for run in runs if run["kind"] == kind}
        for kind in ("session", "paper")
    }
    seeds = sorted(kinds["session"].keys() & kinds["paper"].keys())
    measures: dict[str, Callable[[Run], float]] = {
        "tokens processed": _share,
        "CPU time": lambda run: run["cpu_s"] / run["therapist_tokens"],
        "wall time": lambda run: run["wall_s"] / run["therapist_tokens"],
    }
    for name, measure in measures.items():
        ratios = [measure(kinds["paper"][seed]) / measure(kinds["session"][seed]) for seed in seeds]
        yield f"- {name} a therapist token, paper over session: " + ", ".join(
            f"{ratio:.1f}" for ratio in ratios
        )
    for form in ("alpaca", "chat"):
        pairs = [
            (kinds["session"][seed]["held_out"]["chat"], kinds["paper"][seed]["held_out"][form])
            for seed in seeds
        ]
        difference, half = interval(
            [statistics.fmean(column) for column in zip(*map(_differences, pairs), strict=True)]
        )
        yield (
            f"- held-out loss, session less paper (in its {form} form): {difference:+.4f} ± "
            f"{half:.4f} nats a therapist token"
        )


def _share(run: Run) -> float:
    return float(run["tokens"] / run["therapist_tokens"])


def per_token(losses: Iterable[dict[str, Any]]) -> float:
    """The mean loss over all tokens of these turns."""
    found = list(losses)
    return float(
        sum(one["tokens"] * one["loss"] for one in found) / sum(one["tokens"] for one in found)
    )


def _differences(pair: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> list[float]:
    """Of each held-out session, the first less the second."""
    means = [
        {
            number: per_token(one for one in losses if one["session"] == number)
            for number in {one["session"] for one in losses}
        }
        for losses in pair
    ]
    return [means[0][number] - means[1][number] for number in sorted(means[0])]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean of independent values, and half the width of Student's 95 % interval around it."""
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), half


if __name__ == "__main__":
    print(table([json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]))
