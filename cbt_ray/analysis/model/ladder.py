"""The optimiser ladder: several optimisers from several starts, the highest finite likelihood wins,
every fit is recorded.

One optimiser is not enough: on the published scores statsmodels' lbfgs returns an infinite
likelihood and calls it converged.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cbt_ray.analysis.document import Keyed

if TYPE_CHECKING:
    from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMResults

OPTIMISERS = ("powell", "bfgs", "lbfgs", "nm")
STARTS = {"unit": 1.0, "moments": None}
"""Variance of the random intercept over the residual variance where an optimiser starts; None:
estimated from moments."""
MANY = 20_000
SPREAD = 1e-3
"""Log-likelihoods of fits that all converged and still lie further apart than this are named."""
BOUNDARY = 1e-4
"""A variance ratio below this is an estimate at the edge of what is possible."""


@dataclass(frozen=True)
class Optimisation(Keyed):
    """What one optimiser made of one start."""

    optimiser: str
    start: str
    log_likelihood: float | None = None
    """Null where it found none that is finite."""
    converged: bool = False
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Climb:
    """The best fit (None where no fit was finite), every attempt, and what is to be said of it."""

    best: MixedLMResults | None
    attempts: Sequence[Optimisation]
    spread: float | None
    problems: Sequence[str]


def climb(model: Callable[[], MixedLM], ratio: float, *, reml: bool, rows: int = 0) -> Climb:
    """Fit with every optimiser from every start.

    `ratio` is the moment estimate that one start uses.

    With many `rows` the variances are well known and a fit takes long, so two optimisers start
    once, from moments.
    """
    many = rows > MANY
    found = [
        _attempt(model, optimiser, start, ratio if value is None else value, reml=reml)
        for optimiser in (OPTIMISERS[:2] if many else OPTIMISERS)
        for start, value in ({"moments": None} if many else STARTS).items()
    ]
    attempts = [attempt for attempt, _ in found]
    fits = [fit for _, fit in found if fit is not None]
    best = max(fits, key=lambda fit: float(fit.llf), default=None)
    spread = apart(attempts)
    return Climb(best, attempts, spread, _problems(best, attempts, spread))


def apart(attempts: Sequence[Optimisation]) -> float | None:
    """Between the log-likelihoods of those that say they converged."""
    values = [
        one.log_likelihood for one in attempts if one.converged and one.log_likelihood is not None
    ]
    return max(values) - min(values) if values else None


def _attempt(
    model: Callable[[], MixedLM], optimiser: str, start: str, ratio: float, *, reml: bool
) -> tuple[Optimisation, MixedLMResults | None]:
    """One fit; a fit whose likelihood is not a finite number is recorded and thrown away."""
    import numpy as np

    record = Optimisation(optimiser, start)
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            fit = model().fit(start_params=np.array([ratio**0.5]), reml=reml, method=optimiser)
        except (np.linalg.LinAlgError, ValueError, FloatingPointError, ZeroDivisionError) as error:
            return replace(record, warnings=[f"failed: {error}"]), None
    said = sorted({str(warning.message).split("\n")[0] for warning in caught})
    record = replace(record, converged=bool(fit.converged), warnings=said)
    if not math.isfinite(fit.llf):
        return replace(record, warnings=[*said, f"likelihood is not finite: {fit.llf}"]), None
    return replace(record, log_likelihood=float(fit.llf)), fit


def _problems(
    best: MixedLMResults | None, attempts: Sequence[Optimisation], spread: float | None
) -> list[str]:
    problems = []
    infinite = sum(one.log_likelihood is None for one in attempts)
    if infinite:
        problems.append(f"{infinite} of {len(attempts)} fits failed or had no finite likelihood")
    if spread is not None and spread > SPREAD:
        problems.append(far_apart(spread))
    if best is None:
        return problems
    if not best.converged:
        problems.append("the best fit did not converge")
    if float(best.cov_re.iloc[0, 0]) < BOUNDARY * best.scale:
        problems.append("boundary fit: the patients' variance is estimated as zero")
    if any(not math.isfinite(value) for value in best.bse_fe):
        problems.append("singular fit: some standard errors do not exist")
    return problems


def far_apart(spread: float) -> str:
    """What is said of optimisers that converged further apart than `SPREAD`."""
    return (
        f"optimisers that say they converged differ by {spread:.3g} in log-likelihood; the highest "
        "is reported"
    )
