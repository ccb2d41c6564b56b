"""Linear models with nested random intercepts, patient / chain / session, fitted from sums over
chains.

The likelihood of y = X b + patient + chain + residual needs nothing but the chains' sums and the
cross products (Woodbury, since each chain belongs to one patient). One evaluation costs as much as
there are chains, not sessions: a refit takes milliseconds, and 10^6 ratings are as easy as 600.
statsmodels' MixedLM is the independent calculation that the tests compare with.

Source of the profiled likelihoods: Pinheiro & Bates 2000, Mixed-Effects Models in S and S-PLUS,
section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.model.ladder import BOUNDARY, SPREAD, Optimisation, apart, far_apart

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

OPTIMISERS = ("L-BFGS-B", "Nelder-Mead", "Powell")
STARTS = {"even": 0.5}
"""Every variance ratio at the start; the other start is what moments say."""
LARGEST = 30.0
"""Square root of the largest variance ratio that is looked for."""


@dataclass(frozen=True)
class Sums:
    """What the likelihood needs. q columns: those of X, then y."""

    n: int
    columns: tuple[str, ...]
    """Names of X's columns."""
    cross: Array
    """(q, q): Z'Z of Z = [X, y]."""
    chains: Array
    """(chains, q): sums of Z over each chain."""
    sizes: Array
    """(chains,): sessions of each chain."""
    patient: Array
    """(chains,): number of each chain's patient, from 0."""
    levels: tuple[str, ...]
    """The random intercepts: ("patient", "chain") or ("patient",)."""

    @property
    def fixed(self) -> int:
        """Columns of X."""
        return len(self.columns)

    @cached_property
    def cells(self) -> Array:
        """(chains * q,): where each number of `chains` goes in a table of patients by columns."""
        import numpy as np

        q = self.fixed + 1
        return (self.patient[:, None] * q + np.arange(q)).ravel()


def sums(
    matrix: Array, y: Array, columns: Sequence[str], patient: Array, chain: Array | None
) -> Sums:
    """Sums of a design (n, k) and a response (n,); patient and chain are codes from 0.

    Chain None: no intercept per chain.
    """
    import numpy as np

    z = np.column_stack([matrix, y])
    codes = patient if chain is None else chain
    count = int(codes.max()) + 1
    totals = np.column_stack(
        [np.bincount(codes, weights=z[:, j], minlength=count) for j in range(z.shape[1])]
    )
    owner = np.zeros(count, dtype=int)
    owner[codes] = patient
    sizes = np.bincount(codes, minlength=count).astype(float)
    levels = ("patient",) if chain is None else ("patient", "chain")
    return Sums(len(y), tuple(columns), z.T @ z, totals, sizes, owner, levels)


@dataclass(frozen=True)
class Profile:
    """The likelihood at given variance ratios, and what the fixed effects follow from."""

    log_likelihood: float
    residual_variance: float
    root: Array
    """(k, k): Cholesky's, of the inverse of their covariance over the residual variance."""
    half: Array
    """(k,): `root` times the fixed effects."""


@dataclass(frozen=True)
class Fit:
    """A fitted model; variances in squared units of y."""

    method: str
    """REML or ML."""
    log_likelihood: float
    estimates: Array
    """(k,) fixed effects."""
    covariance: Array
    """(k, k) of the fixed effects, given the variances."""
    residual_variance: float
    variances: dict[str, float]
    """Random intercept -> variance."""
    attempts: tuple[Optimisation, ...] = ()
    spread: float | None = None
    problems: tuple[str, ...] = ()


def evaluate(data: Sums, ratios: Sequence[float], *, reml: bool) -> Fit:
    """The model at given variance ratios (random intercept over residual variance), everything else
    profiled out.

    Raises numpy.linalg.LinAlgError where the design has not full rank.
    """
    import numpy as np

    found = profile(data, ratios, reml=reml)
    inverse, variance = np.linalg.inv(found.root), found.residual_variance
    return Fit(
        method="REML" if reml else "ML",
        log_likelihood=found.log_likelihood,
        estimates=inverse.T @ found.half,
        covariance=variance * (inverse.T @ inverse),
        residual_variance=variance,
        variances={
            level: ratio * variance for level, ratio in zip(data.levels, ratios, strict=False)
        },
    )


def profile(data: Sums, ratios: Sequence[float], *, reml: bool) -> Profile:
    """No more of `evaluate` than the likelihood takes, of which a fit is made dozens of times."""
    import numpy as np

    k, n = data.fixed, data.n
    of_patient, of_chain = ratios[0], (ratios[1] if len(data.levels) > 1 else 0.0)
    shrink = 1.0 + data.sizes * of_chain
    weighted = data.chains / shrink[:, None]
    inner = data.cross - of_chain * (data.chains.T @ weighted)
    patients = int(data.patient.max()) + 1
    u = np.bincount(data.cells, weighted.ravel(), patients * (k + 1)).reshape(patients, k + 1)
    s = np.bincount(data.patient, weights=data.sizes / shrink, minlength=patients)
    inner = inner - of_patient * (u.T @ (u / (1.0 + of_patient * s)[:, None]))
    log_det = float(np.log(shrink).sum() + np.log1p(of_patient * s).sum())
    root = np.linalg.cholesky(inner[:k, :k])
    half = np.linalg.solve(root, inner[:k, k])
    rest = float(inner[k, k] - half @ half)
    free = n - k if reml else n
    variance = max(rest, 1e-300) / free
    value = free * (math.log(2 * math.pi * variance) + 1.0) + log_det
    if reml:
        value += 2.0 * float(np.log(np.diag(root)).sum())
    return Profile(-0.5 * value, variance, root, half)


def fit(data: Sums, *, reml: bool, ladder: bool = True) -> Fit | None:
    """The best of several optimisers from several starts, all of them recorded.

    None where none found a finite likelihood.

    Without `ladder` the first optimiser starts once, from moments: for refits.
    """
    starts = {
        "moments": moments(data),
        **({name: [r] * len(data.levels) for name, r in STARTS.items()} if ladder else {}),
    }
    found = [
        (attempt, best)
        for optimiser in (OPTIMISERS if ladder else OPTIMISERS[:1])
        for start, ratios in starts.items()
        for attempt, best in [_climb(data, optimiser, start, ratios, reml=reml)]
    ]
    attempts = tuple(attempt for attempt, _ in found)
    finite = [(attempt, ratios) for attempt, ratios in found if ratios is not None]
    if not finite:
        return None
    attempt, ratios = max(finite, key=lambda pair: pair[0].log_likelihood or -math.inf)
    best, spread = evaluate(data, ratios, reml=reml), apart(attempts)
    problems = tuple(_problems(best, attempt, attempts, spread))
    return replace(best, attempts=attempts, spread=spread, problems=problems)


def moments(data: Sums) -> list[float]:
    """Variance ratios by moments, on what ordinary least squares leaves over, kept inside (0.001,
    10).
    """
    import numpy as np

    k = data.fixed
    beta = np.linalg.lstsq(data.cross[:k, :k], data.cross[:k, k], rcond=None)[0]
    left = np.append(-beta, 1.0)
    within = float(left @ data.cross @ left) - float(
        np.square(data.chains @ left).T @ (1 / data.sizes)
    )
    residual = within / max(1, data.n - len(data.sizes))
    means = (data.chains @ left) / data.sizes
    between = float(np.var(means)) - residual * float(np.mean(1 / data.sizes))
    ratio = min(10.0, max(0.001, between / residual)) if residual > 0 else 0.5
    return [ratio] if len(data.levels) == 1 else [ratio / 2, ratio / 2]


def _climb(
    data: Sums, optimiser: str, start: str, ratios: Sequence[float], *, reml: bool
) -> tuple[Optimisation, list[float] | None]:
    """One optimisation over square roots of the ratios, so that zero can be reached."""
    import numpy as np
    from scipy.optimize import minimize

    record = Optimisation(optimiser, start)

    def lose(roots: Array) -> float:
        try:
            return -profile(data, [float(r) ** 2 for r in roots], reml=reml).log_likelihood
        except (np.linalg.LinAlgError, ValueError):
            return 1e300

    begun = np.sqrt(ratios)
    bounds = [(0.0, LARGEST)] * len(begun)
    done = minimize(lose, begun, method=optimiser, bounds=bounds, options=_OPTIONS[optimiser])
    if not math.isfinite(done.fun) or done.fun >= 1e299:
        return replace(record, warnings=["no finite likelihood"]), None
    record = replace(record, log_likelihood=-float(done.fun), converged=bool(done.success))
    if not done.success:
        record = replace(record, warnings=[str(done.message)])
    return record, [float(r) ** 2 for r in done.x]


_OPTIONS: dict[str, dict[str, Any]] = {
    "L-BFGS-B": {"ftol": 1e-13, "gtol": 1e-7, "eps": 1e-6},
    "Nelder-Mead": {"xatol": 1e-6, "fatol": 1e-9},
    "Powell": {"xtol": 1e-5, "ftol": 1e-12},
}


def _problems(
    best: Fit, attempt: Optimisation, attempts: Sequence[Optimisation], spread: float | None
) -> list[str]:
    problems = []
    failed = sum(one.log_likelihood is None for one in attempts)
    if failed:
        problems.append(f"{failed} of {len(attempts)} fits had no finite likelihood")
    if spread is not None and spread > SPREAD:
        problems.append(far_apart(spread))
    if not attempt.converged:
        problems.append("the best fit did not converge")
    for level, variance in best.variances.items():
        if variance < BOUNDARY * best.residual_variance:
            problems.append(f"boundary fit: the variance between {level}s is estimated as zero")
    return problems
