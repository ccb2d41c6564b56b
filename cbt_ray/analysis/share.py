"""Shares and counts with intervals that fit them: within their ends, and never of no width where
nobody, or everybody, did it.

Patients are the clusters. A share's interval is that of Clopper and Pearson for as many trials as
would make it vary so much (Korn & Graubard 1998, Survey Methodology 24:193-201); a count's is
Garwood's (1936, Biometrika 28:437-442) for as many events. Where nothing varies between patients,
each of them is one trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.estimate import Estimate
from cbt_ray.count import many

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

NO_VARIATION = 1e-12


def share(
    parts: Sequence[float],
    wholes: Sequence[float],
    level: float,
    trials: float | None = None,
) -> Estimate:
    """The parts of all patients over their wholes, each between 0 and 1 of it.

    `trials`: of how many answers of yes or no it is made; none: it can lie anywhere in between.
    A patient whose whole is 0 says nothing.
    """
    from scipy.stats import beta

    found = _ratio(parts, wholes, trials)
    if isinstance(found, Estimate):
        return found
    value, variance, patients = found
    size = float(patients)
    if variance > NO_VARIATION:
        of_one = value * (1 - value) * (1.0 if trials is None else trials / (trials - 1))
        size = of_one / variance * _narrower(level, patients, trials)
        size = size if trials is None else min(size, trials)
    yes, no, tail = size * value, size * (1 - value), (1 - level) / 2
    low = float(beta.ppf(tail, yes, no + 1)) if yes > 0 else 0.0
    high = float(beta.ppf(1 - tail, yes + 1, no)) if no > 0 else 1.0
    return Estimate(value, low, high)


def count(
    parts: Sequence[float],
    wholes: Sequence[float],
    level: float,
    trials: float | None = None,
) -> Estimate:
    """The events of all patients over their wholes, without an upper end.

    `trials`: over how many sessions they were counted.
    """
    from scipy.stats import gamma

    found = _ratio(parts, wholes, trials)
    if isinstance(found, Estimate):
        return found
    value, variance, patients = found
    events, tail = value * patients, (1 - level) / 2
    if variance > NO_VARIATION:
        events = value**2 / variance * _narrower(level, patients, trials)
    unit = value / events if value else 1 / patients
    low = float(gamma.ppf(tail, events)) * unit if events > 0 else 0.0
    return Estimate(value, low, float(gamma.ppf(1 - tail, events + 1)) * unit)


def mcnemar(first: int, second: int) -> float:
    """Exact p, two-sided, of pairs of which only the first, or only the second, is a yes."""
    from scipy.stats import binom

    pairs = first + second
    return min(1.0, 2 * float(binom.cdf(min(first, second), pairs, 0.5))) if pairs else 1.0


def _ratio(
    parts: Sequence[float], wholes: Sequence[float], trials: float | None
) -> tuple[float, float, int] | Estimate:
    """Sum over sum with its variance between patients, and how many these are; an estimate where
    there is no interval.
    """
    import numpy as np

    part, whole = np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)
    part, whole = part[whole > 0], whole[whole > 0]
    patients = len(whole)
    if not patients:
        return Estimate(None, reason="no patient has a value")
    value = float(part.sum() / whole.sum())
    if patients < 2:
        return Estimate(value, reason=f"needs 2 patients, found {patients}")
    if trials is not None and trials < patients:
        raise ValueError(f"expected a trial of each of {many(patients, 'patient')}, found {trials}")
    rest = part - value * whole
    scale = patients / (patients - 1) / float(whole.sum()) ** 2
    return value, float(np.square(rest).sum()) * scale, patients


def _narrower(level: float, patients: int, trials: float | None) -> float:
    """What a size loses since patients, and not trials, say how much it varies: squared t of all
    trials over squared t of all patients.
    """
    from scipy.special import ndtri, stdtrit

    point = 0.5 + level / 2
    of_trials = ndtri(point) if trials is None else stdtrit(trials - 1, point)
    return float(of_trials / stdtrit(patients - 1, point)) ** 2
