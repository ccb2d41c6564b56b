"""Contrasts treatment - control per model on means of chains, with t intervals where the data allow them.

The 20 sessions of a chain share their patient, their therapist and each other's summaries, so the chain's mean is the
observation and patients are the blocks: arms x patients in a two-way layout, whose interaction is the error term.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cbt_ray.analysis.scores import SessionScore
from cbt_ray.analysis.settings import Settings

CAVEAT = (
    "Chain means are the observations, so sessions of one chain are not counted as independent; the interval assumes equal "
    "variances over arms. One training run per model: inference is to that checkpoint, not to the method of training."
)
Counted = Sequence[tuple[SessionScore, float]]


@dataclass(frozen=True)
class Cell:
    """An arm with a patient: the mean of its chains' means, and the sessions (numbers) that each chain rests on."""

    mean: float
    sessions: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> list[int]:
        """How many sessions each chain rests on."""
        return [len(numbers) for numbers in self.sessions]


Cells = Mapping[str, Mapping[str, Cell]]


@dataclass(frozen=True)
class Error:
    """The error term of a contrast."""

    variance: float
    """Of the difference of two arms' means."""
    df: int
    name: str


def cells(counted: Counted) -> dict[str, dict[str, Cell]]:
    """Arm -> patient -> cell."""
    chains: dict[str, dict[str, dict[int, list[tuple[int, float]]]]] = {}
    for score, total in counted:
        arm, patient, replicate = score.chain
        chains.setdefault(arm, {}).setdefault(patient, {}).setdefault(replicate, []).append((score.row.session, total))
    return {arm: {patient: _cell(own) for patient, own in patients.items()} for arm, patients in chains.items()}


def _cell(chains: Mapping[int, list[tuple[int, float]]]) -> Cell:
    means = [statistics.fmean([total for _, total in chain]) for chain in chains.values()]
    return Cell(statistics.fmean(means), tuple(sorted(tuple(sorted(number for number, _ in chain)) for chain in chains.values())))


def pairs(arm_list: Sequence[dict[str, str]], settings: Settings) -> list[tuple[str, str, str]]:
    """(model, arm of the treatment, arm of the control) for each model that has both."""
    found: dict[str, dict[str, str]] = {}
    for arm in arm_list:
        found.setdefault(arm["model"], {}).setdefault(arm["variant"], arm["arm"])
    both = (settings.treatment, settings.control)
    return [(model, own[both[0]], own[both[1]]) for model, own in found.items() if all(variant in own for variant in both)]


def contrasts(counted: Counted, arm_list: Sequence[dict[str, str]], settings: Settings) -> list[dict[str, Any]]:
    """Every contrast of the primary family, Holm-adjusted within it."""
    table = cells(counted)
    names = [arm["arm"] for arm in arm_list]
    rows = [_contrast(pair, table, names, settings) for pair in pairs(arm_list, settings)]
    # A withheld p counts as 1: the family was declared beforehand and does not shrink where data are missing.
    adjusted = holm([1.0 if row["p"] is None else row["p"] for row in rows])
    return [{**row, "p_holm": None if row["p"] is None else p} for row, p in zip(rows, adjusted, strict=True)]


def _contrast(pair: tuple[str, str, str], table: Cells, names: Sequence[str], settings: Settings) -> dict[str, Any]:
    model, treatment, control = pair
    row: dict[str, Any] = {"model": model, "treatment": treatment, "control": control, "level": settings.level, "caveat": CAVEAT}
    row |= dict.fromkeys(("estimate", "se", "df", "t", "p", "low", "high", "error_term", "reason"))
    row["patients"] = len(set(table.get(treatment, {})) & set(table.get(control, {})))
    for arm in (treatment, control):
        if not table.get(arm):
            return row | {"reason": f"no rated session in arm {arm}"}
    row["estimate"] = _mean(table, treatment) - _mean(table, control)
    error = _error(table, names, (treatment, control))
    return row | ({"reason": error} if isinstance(error, str) else _interval(row["estimate"], error, settings.level))


def _mean(table: Cells, arm: str) -> float:
    return statistics.fmean([cell.mean for cell in table[arm].values()])


def _error(table: Cells, names: Sequence[str], pair: tuple[str, str]) -> Error | str:
    """Pooled over all arms where all are balanced, from the pair's differences where only these are, else why there is none."""
    problem = unbalanced(table, pair)
    if problem:
        return problem
    patients = sorted(table[pair[0]])
    if len(patients) < 2:
        return "needs 2 patients or more, found 1: nothing says how the difference varies between patients"
    arms = list(names) if unbalanced(table, names) is None else list(pair)
    matrix = [[table[arm][patient].mean for patient in patients] for arm in arms]
    df = (len(arms) - 1) * (len(patients) - 1)
    mean_square = interaction_sum_of_squares(matrix) / df
    if mean_square < 1e-12:
        return "needs differences that vary between patients, found none (error term is zero)"
    name = (
        "arm x patient interaction, all arms" if len(arms) == len(names) else "arm x patient interaction, this model's two arms"
    )
    return Error(2 * mean_square / len(patients), df, name)


def unbalanced(table: Cells, names: Sequence[str]) -> str | None:
    """Why these arms are not balanced; None where they are: every arm has every patient, every chain the same sessions."""
    patients = {patient for arm in names for patient in table.get(arm, {})}
    for arm in names:
        absent = sorted(patients - set(table.get(arm, {})))
        if absent:
            return f"needs balanced data: arm {arm} has no rated session with {', '.join(absent)}"
    found = [table[arm][patient] for arm in names for patient in patients]
    if len({cell.sessions for cell in found}) < 2:
        return None
    sizes = {size for cell in found for size in cell.sizes}
    counts = f"{min(sizes)} to {max(sizes)} sessions" if len(sizes) > 1 else "different sessions or numbers of chains"
    return f"needs balanced data: chains rest on {counts}"


def interaction_sum_of_squares(matrix: Sequence[Sequence[float]]) -> float:
    """Of a two-way layout with one value a cell: what rows and columns do not explain."""
    row_means = [statistics.fmean(row) for row in matrix]
    column_means = [statistics.fmean(column) for column in zip(*matrix, strict=True)]
    grand = statistics.fmean(row_means)
    return sum(
        (value - row_means[i] - column_means[j] + grand) ** 2 for i, row in enumerate(matrix) for j, value in enumerate(row)
    )


def _interval(estimate: float, error: Error, level: float) -> dict[str, Any]:
    from scipy.special import stdtr, stdtrit

    se = error.variance**0.5
    t = estimate / se
    half = float(stdtrit(error.df, 0.5 + level / 2)) * se
    p = 2 * float(stdtr(error.df, -abs(t)))
    return {
        "se": se,
        "df": error.df,
        "t": t,
        "p": p,
        "low": estimate - half,
        "high": estimate + half,
        "error_term": error.name,
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Step-down adjusted p-values (Holm 1979, Scand. J. Statist. 6:65-70), in the given order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def means(table: Cells, arms: Iterable[str]) -> list[dict[str, Any]]:
    """Every cell as it stands in the result."""
    return [
        {"arm": arm, "patient": patient, "mean": cell.mean, "sessions": cell.sizes}
        for arm in arms
        for patient, cell in sorted(table.get(arm, {}).items())
    ]
