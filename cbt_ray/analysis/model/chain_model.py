"""The default model: total ~ the factors and their interactions + session_z + (1 | patient) +
(1 | chain), whose error term is the chain.

REML for the estimates and variances, ML for likelihood ratios and AIC, since REML likelihoods of
different fixed effects cannot be compared (Pinheiro & Bates 2000, section 2.4). It prints no p per
term: with a handful of patients z is not normal, and the contrasts have their own error terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.document import Keyed
from cbt_ray.analysis.model import nested
from cbt_ray.analysis.model.design import SESSION, Prepared, factors_of, unfit
from cbt_ray.analysis.model.ladder import Optimisation
from cbt_ray.analysis.model.result import MixedModel, Residuals, residuals
from cbt_ray.analysis.scores import FACTOR
from cbt_ray.analysis.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]

RANDOM = "(1 | patient) + (1 | chain)"


@dataclass(frozen=True)
class Coefficient(Keyed):
    """A fixed effect."""

    term: str
    estimate: float
    se: float


@dataclass(frozen=True)
class LikelihoodRatio(Keyed):
    """The model against the same without an effect."""

    effect: str
    chi2: float | None
    df: int
    p: float | None
    reference: str | None
    """The law that chi2 is compared with."""


@dataclass(frozen=True, kw_only=True)
class ByLikelihood(Keyed):
    """The same model by maximum likelihood."""

    log_likelihood: float
    variances: Mapping[str, float]
    aic: float
    bic: float
    interaction: LikelihoodRatio | None
    """Of all interactions; null where the model has none."""
    chain: LikelihoodRatio
    """Of the chains' intercept."""
    ladder: Sequence[Optimisation]
    spread: float | None
    problems: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class ChainModel(MixedModel):
    """The default model."""

    patients: int | None = None
    chains: int | None = None
    terms: Sequence[Coefficient] = ()
    variances: Mapping[str, float] | None = None
    """Of patients, chains and sessions."""
    ml: ByLikelihood | None = None


def chain_model(sessions: pd.DataFrame, settings: Settings) -> ChainModel:
    """Fit it on session rows whose `total` is NaN where they do not count.

    Where it cannot be fitted it says why.
    """
    rated = sessions[sessions["total"].notna()]
    model = ChainModel(name="default", method="REML", formula=_formula([]))
    if not len(rated):
        return replace(model, reason="no rated session")
    own = Prepared(rated, settings)
    model = replace(model, formula=_formula(list(own.columns)))
    reason = unfit(own.frame, own.matrix()) or (
        "a random intercept per chain needs chains with 2 sessions"
        if own.chains == len(own.y)
        else None
    )
    if reason:
        return replace(model, reason=reason)
    best = nested.fit(own.sums(), reml=True)
    if best is None:
        return replace(model, reason="no optimiser found a finite likelihood")
    return _fitted(model, own, best)


def _fitted(model: ChainModel, own: Prepared, best: nested.Fit) -> ChainModel:
    return replace(
        model,
        status="fitted",
        n=len(own.y),
        patients=own.patients,
        chains=own.chains,
        reference={
            name: str(own.frame[FACTOR + name].cat.categories[0]) for name in factors_of(own.frame)
        },
        terms=[
            Coefficient(name, float(value), float(best.covariance[i, i] ** 0.5))
            for i, (name, value) in enumerate(zip(own.columns, best.estimates, strict=True))
        ],
        variances={**best.variances, "session": best.residual_variance},
        log_likelihood=best.log_likelihood,
        ml=_by_maximum_likelihood(own),
        ladder=best.attempts,
        spread=best.spread,
        problems=best.problems,
        **vars(_left_over(own, best)),
    )


def _formula(columns: Sequence[str]) -> str:
    """The formula of what was fitted: a factor with one level drops out."""
    names = dict.fromkeys(
        part.partition("[")[0] for name in columns for part in name.split(":") if "[" in part
    )
    joined = " * " if any(":" in name for name in columns) else " + "
    parts = [joined.join(names)] if names else []
    parts += [name for name in columns if name == SESSION]
    return f"total ~ {' + '.join(parts) or '1'} + {RANDOM}"


def _by_maximum_likelihood(own: Prepared) -> ByLikelihood | None:
    """None where no optimiser finds a finite likelihood."""
    full = nested.fit(own.sums(), reml=False)
    if full is None:
        return None
    parameters = len(own.columns) + 3
    plain = [name for name in own.columns if ":" not in name]
    interaction = None
    if df := len(own.columns) - len(plain):
        additive = nested.fit(own.sums(plain), reml=False)
        interaction = _ratio(" x ".join(factors_of(own.frame)), full, additive, df)
    unchained = nested.fit(own.sums(chains=False), reml=False)
    return ByLikelihood(
        log_likelihood=full.log_likelihood,
        variances={**full.variances, "session": full.residual_variance},
        aic=-2 * full.log_likelihood + 2 * parameters,
        bic=-2 * full.log_likelihood + math.log(len(own.y)) * parameters,
        interaction=interaction,
        chain=_ratio("variance of chains", full, unchained, 1, boundary=True),
        ladder=full.attempts,
        spread=full.spread,
        problems=full.problems,
    )


def _ratio(
    effect: str, full: nested.Fit, less: nested.Fit | None, df: int, *, boundary: bool = False
) -> LikelihoodRatio:
    """At the boundary half of chi squared (Self & Liang 1987, JASA 82:605-610)."""
    from scipy.stats import chi2

    if less is None:
        return LikelihoodRatio(effect, None, df, None, None)
    value = max(0.0, 2 * (full.log_likelihood - less.log_likelihood))
    p = float(chi2.sf(value, df))
    if boundary:
        law = "half of chi squared: a variance cannot be below zero"
        return LikelihoodRatio(effect, value, df, p * 0.5, law)
    return LikelihoodRatio(effect, value, df, p, "chi squared")


def _left_over(own: Prepared, best: nested.Fit) -> Residuals:
    """Residuals about the fitted values with the patients' and chains' best linear unbiased
    predictions.
    """
    by_fixed = own.matrix() @ best.estimates
    fitted = by_fixed + predictions(own.y - by_fixed, own, best)
    return residuals(fitted, own.y - fitted, best.residual_variance)


def predictions(rest: Array, own: Prepared, best: nested.Fit) -> Array:
    """(sessions,) the predicted intercept of each session's patient and chain."""
    import numpy as np

    of_patient = best.variances["patient"] / best.residual_variance
    of_chain = best.variances["chain"] / best.residual_variance
    sizes, sums = np.bincount(own.chain).astype(float), np.bincount(own.chain, weights=rest)
    owner = np.zeros(len(sizes), dtype=int)
    owner[own.chain] = own.patient
    shrink = 1 + sizes * of_chain
    count = int(owner.max()) + 1
    patients = np.bincount(owner, weights=sums / shrink, minlength=count)
    weights = np.bincount(owner, weights=sizes / shrink, minlength=count)
    patients = of_patient * patients / (1 + of_patient * weights)
    chains = of_chain * (sums - sizes * patients[owner]) / shrink
    return np.asarray(patients[own.patient] + chains[own.chain])
