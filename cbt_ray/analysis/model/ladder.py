"""The optimiser ladder: several optimisers from several starts, the highest finite likelihood wins,
every fit is recorded.

One optimiser is not enough: on the published scores statsmodels' lbfgs returns an infinite
likelihood and calls it converged.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

OPTIMISERS = ("powell", "bfgs", "lbfgs", "nm")
STARTS = {"unit": 1.0, "moments": None}
"""Variance of the random intercept over the residual variance where an optimiser starts; None:
estimated from moments."""
MANY = 20_000
SPREAD = 1e-3
"""Log-likelihoods of fits that all converged and still lie further apart than this are named."""
BOUNDARY = 1e-4
"""A variance ratio below this is an estimate at the edge of what is possible."""

MakeModel = Callable[[], Any]


@dataclass(frozen=True)
class Climb:
    """The best fit (None where no fit was finite), every attempt, and what is to be said of it."""

    best: Any
    attempts: list[dict[str, Any]]
    spread: float | None
    problems: list[str]


def climb(model: MakeModel, ratio: float, *, reml: bool, rows: int = 0) -> Climb:
    """Fit with every optimiser from every start.

    `ratio` is the moment estimate that one start uses.

    With many `rows` the variances are well known and a fit takes long, so two optimisers start
    once, from moments.
    """
    fits: list[tuple[float, Any]] = []
    attempts = []
    many = rows > MANY
    for optimiser in OPTIMISERS[:2] if many else OPTIMISERS:
        for start, value in {"moments": None}.items() if many else STARTS.items():
            attempt, fit = _attempt(
                model, optimiser, start, ratio if value is None else value, reml=reml
            )
            attempts.append(attempt)
            if fit is not None:
                fits.append((attempt["log_likelihood"], fit))
    best = max(fits, key=lambda pair: pair[0], default=(None, None))[1]
    finite = [
        a["log_likelihood"] for a in attempts if a["log_likelihood"] is not None and a["converged"]
    ]
    spread = max(finite) - min(finite) if finite else None
    return Climb(best, attempts, spread, _problems(best, attempts, spread))


def _attempt(
    model: MakeModel, optimiser: str, start: str, ratio: float, *, reml: bool
) -> tuple[dict[str, Any], Any]:
    """One fit; a fit whose likelihood is not a finite number is recorded and thrown away."""
    import numpy as np

    record: dict[str, Any] = {
        "optimiser": optimiser,
        "start": start,
        "log_likelihood": None,
        "converged": False,
        "warnings": [],
    }
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            fit = model().fit(start_params=np.array([ratio**0.5]), reml=reml, method=optimiser)
        except (np.linalg.LinAlgError, ValueError, FloatingPointError, ZeroDivisionError) as error:
            return record | {"warnings": [f"failed: {error}"]}, None
    record["warnings"] = sorted({str(warning.message).split("\n")[0] for warning in caught})
    record["converged"] = bool(fit.converged)
    if not math.isfinite(fit.llf):
        return record | {
            "warnings": [*record["warnings"], f"likelihood is not finite: {fit.llf}"]
        }, None
    return record | {"log_likelihood": float(fit.llf)}, fit


def _problems(best: Any, attempts: list[dict[str, Any]], spread: float | None) -> list[str]:
    problems = []
    infinite = sum(a["log_likelihood"] is None for a in attempts)
    if infinite:
        problems.append(f"{infinite} of {len(attempts)} fits failed or had no finite likelihood")
    if spread is not None and spread > SPREAD:
        problems.append(
            f"optimisers that say they converged differ by {spread:.3g} in log-likelihood; the "
            "highest is reported"
        )
    if best is None:
        return problems
    if not best.converged:
        problems.append("the best fit did not converge")
    if float(best.cov_re.iloc[0, 0]) < BOUNDARY * best.scale:
        problems.append("boundary fit: the patients' variance is estimated as zero")
    if any(not math.isfinite(value) for value in best.bse_fe):
        problems.append("singular fit: some standard errors do not exist")
    return problems
