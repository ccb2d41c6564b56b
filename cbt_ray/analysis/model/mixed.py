"""The published mixed model and its reduced form where a factor has one level.

Source: arXiv 2412.00251 (Statistical analysis): total_score ~ C(model) + C(variant) + session_z +
(1 | patient), maximum likelihood; here with the factors of the study. session_z is the session
number as a z-score over all fitted rows (ddof 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cbt_ray.analysis.describe import number
from cbt_ray.analysis.document import Keyed
from cbt_ray.analysis.model.design import SESSION, design, factors_of, fixed, term, unfit
from cbt_ray.analysis.model.ladder import climb
from cbt_ray.analysis.model.result import MixedModel, residuals
from cbt_ray.analysis.scores import FACTOR
from cbt_ray.analysis.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMResults

CAVEAT = (
    "This model treats every session as an independent observation given its patient. The sessions "
    "of a chain are not: they "
    "share a therapist and a patient, so its standard errors are too small."
)
RANDOM = "(1 | patient)"


@dataclass(frozen=True)
class PublishedTerm(Keyed):
    """A fixed effect as published: z, and Bonferroni over every p of the fit, the intercept's and
    the variance's, too.
    """

    term: str
    estimate: float | None
    se: float | None
    z: float | None
    p: float | None
    p_bonferroni: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class PublishedModel(MixedModel):
    """The published model, or a reduced form of it."""

    method: str = "ML"
    dropped: Sequence[str] = ()
    """Terms that are left out, and why."""
    groups: int | None = None
    """Patients."""
    group_sizes: tuple[int, int] | None = None
    """Sessions of the patient with the fewest, and of that with the most."""
    level: float
    terms: Sequence[PublishedTerm] = ()
    scale: float | None = None
    patient_variance: float | None = None
    aic: float | None = None
    bic: float | None = None
    """Parameters counted by both: fixed effects, patient variance, scale."""
    explained_variance: float | None = None
    explained_variance_fixed: float | None = None
    caveat: str = ""


def published(
    sessions: pd.DataFrame, settings: Settings
) -> tuple[PublishedModel, PublishedModel | None]:
    """The published model, and where its formula cannot be fitted a reduced one that is named as
    such.

    `sessions` are session rows whose `total` is NaN where they do not count.
    """
    rated = sessions[sessions["total"].notna()]
    single = _single_levels(rated)
    terms = [*factors_of(sessions), SESSION]
    full = PublishedModel(name="published", formula=_formula(terms), level=settings.level)
    if not single:
        return _fit(full, rated, settings, terms), None
    reason = "; ".join(f"{term(name)} cannot be estimated: {why}" for name, why in single.items())
    full = replace(full, reason=reason if len(rated) else "no rated session")
    kept = [name for name in terms if name not in single]
    if not kept or not len(rated):
        return full, None
    dropped = [f"{term(name)}: {why}" for name, why in single.items()]
    reduced = replace(full, name="reduced", formula=_formula(kept), dropped=dropped, reason=None)
    return full, _fit(reduced, rated, settings, kept)


def _formula(terms: Sequence[str]) -> str:
    return f"total ~ {' + '.join([*map(term, terms), RANDOM])}"


def _single_levels(rated: pd.DataFrame) -> dict[str, str]:
    """Terms whose factor has one level, and which."""
    columns = {name: FACTOR + name for name in factors_of(rated)} | {SESSION: "session"}
    found = {name: list(rated[column].unique()) for name, column in columns.items()}
    return {
        name: f"one {'session number' if name == SESSION else name} only ({levels[0]})"
        if levels
        else "no rated session"
        for name, levels in found.items()
        if len(levels) < 2
    }


def _fit(
    model: PublishedModel, rated: pd.DataFrame, settings: Settings, kept: Sequence[str]
) -> PublishedModel:
    import numpy as np
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    frame = design(rated, settings)
    matrix, y = pd.DataFrame(fixed(frame, kept)), frame["total"].to_numpy(dtype=float)
    reason = unfit(frame, matrix.to_numpy())
    if reason:
        return replace(model, reason=reason)

    def made() -> MixedLM:
        return MixedLM(y, matrix, groups=frame["patient"].to_numpy())

    found = climb(made, _moment_ratio(frame), reml=False, rows=len(frame))
    model = replace(model, ladder=found.attempts, spread=found.spread, problems=found.problems)
    fit = found.best
    if fit is None:
        return replace(model, reason="no optimiser found a finite likelihood")
    left_over = residuals(np.asarray(fit.fittedvalues), np.asarray(fit.resid), float(fit.scale))
    reference = {
        name: str(frame[FACTOR + name].cat.categories[0]) for name in kept if name != SESSION
    }
    model = replace(model, status="fitted", reference=reference, **vars(left_over))
    return _qualified(replace(model, terms=_terms(fit, settings.level)), fit, frame)


def _moment_ratio(frame: pd.DataFrame) -> float:
    """Variance between patients' means over the variance within, kept inside (0.001, 10)."""
    groups = frame.groupby("patient", observed=True)["total"]
    within = float(groups.var(ddof=1).mean())
    if not math.isfinite(within) or within <= 0:
        return 0.5
    between = float(groups.mean().var(ddof=1)) - within / float(groups.size().mean())
    return min(10.0, max(0.001, between / within))


def _terms(fit: MixedLMResults, level: float) -> list[PublishedTerm]:
    intervals = fit.conf_int(alpha=1 - level)
    return [
        PublishedTerm(
            term=str(name),
            estimate=number(fit.fe_params[name]),
            se=number(fit.bse_fe[name]),
            z=number(fit.tvalues[name]),
            p=number(fit.pvalues[name]),
            p_bonferroni=number(min(1.0, fit.pvalues[name] * len(fit.pvalues))),
            low=number(intervals.loc[name].iloc[0]),
            high=number(intervals.loc[name].iloc[1]),
        )
        for name in fit.fe_params.index
    ]


def _qualified(model: PublishedModel, fit: MixedLMResults, frame: pd.DataFrame) -> PublishedModel:
    """With what it rests on, and how well it fits."""
    import numpy as np

    sizes = frame.groupby("patient", observed=True).size()
    parameters = len(fit.fe_params) + 2
    by_fixed = np.asarray(fit.model.exog) @ np.asarray(fit.fe_params)
    spread = float(np.var(frame["total"]))
    return replace(
        model,
        n=len(frame),
        groups=int(sizes.size),
        group_sizes=(int(sizes.min()), int(sizes.max())),
        log_likelihood=float(fit.llf),
        scale=float(fit.scale),
        patient_variance=number(fit.cov_re.iloc[0, 0]),
        aic=-2 * float(fit.llf) + 2 * parameters,
        bic=-2 * float(fit.llf) + math.log(len(frame)) * parameters,
        explained_variance=float(np.var(np.asarray(fit.fittedvalues))) / spread,
        explained_variance_fixed=float(np.var(by_fixed)) / spread,
        caveat=CAVEAT if frame["chain"].nunique() < len(frame) else "",
    )
