"""The published mixed model and its reduced form where a factor has one level.

Source: arXiv 2412.00251 (Statistical analysis): total_score ~ C(model) + C(variant) + session_z +
(1 | patient), maximum likelihood. session_z is the session number as a z-score over all fitted rows
(ddof 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.describe import number
from cbt_ray.analysis.model.ladder import climb
from cbt_ray.analysis.model.residual import residuals
from cbt_ray.analysis.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

CAVEAT = (
    "This model treats every session as an independent observation given its patient. The sessions "
    "of a chain are not: they "
    "share a therapist and a patient, so its standard errors are too small."
)
TERMS = {"model": "C(model)", "variant": "C(variant)", "session_z": "session_z"}
RANDOM = "(1 | patient)"
FULL = f"total ~ {' + '.join(TERMS.values())} + {RANDOM}"


def published(sessions: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """The published model, and where its formula cannot be fitted a reduced one that is named as
    such.

    `sessions` are session rows whose `total` is NaN where they do not count.
    """
    rated = sessions[sessions["total"].notna()]
    single = _single_levels(rated)
    full = {"name": "published", "formula": FULL, "dropped": []}
    if not single:
        return {"published": _fit(full, rated, settings, list(TERMS)), "reduced": None}
    reason = "; ".join(f"{TERMS[name]} cannot be estimated: {why}" for name, why in single.items())
    unfitted = _not_fitted(full, reason if len(rated) else "no rated session")
    kept = [name for name in TERMS if name not in single]
    if not kept or not len(rated):
        return {"published": unfitted, "reduced": None}
    formula = f"total ~ {' + '.join(TERMS[name] for name in kept)} + {RANDOM}"
    reduced = {
        "name": "reduced",
        "formula": formula,
        "dropped": [f"{TERMS[name]}: {why}" for name, why in single.items()],
    }
    return {"published": unfitted, "reduced": _fit(reduced, rated, settings, kept)}


def _single_levels(rated: pd.DataFrame) -> dict[str, str]:
    """Terms whose factor has one level, and which."""
    columns = {"model": "model", "variant": "variant", "session_z": "session"}
    names = {"model": "one model", "variant": "one variant", "session_z": "one session number"}
    found = {term: list(rated[column].unique()) for term, column in columns.items()}
    return {
        term: f"{names[term]} only ({levels[0]})" if levels else "no rated session"
        for term, levels in found.items()
        if len(levels) < 2
    }


def _not_fitted(head: dict[str, Any], reason: str) -> dict[str, Any]:
    return {
        **head,
        "method": "ML",
        "status": "not_fitted",
        "reason": reason,
        "problems": [],
        "ladder": [],
        "caveat": "",
    }


def design(rated: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The columns that formulas use.

    The first category of a factor is its reference level, session_z the number as z-score.
    """
    import pandas as pd

    frame = rated[["total", "patient", "chain", "words"]].copy()
    variants = sorted(
        map(str, rated["variant"].unique()), key=lambda name: (name != settings.treatment, name)
    )
    frame["variant"] = pd.Categorical(rated["variant"].astype(str), categories=variants)
    frame["model"] = pd.Categorical(
        rated["model"].astype(str), categories=sorted(map(str, rated["model"].unique()))
    )
    session = rated["session"].astype(float)
    frame["session_z"] = (session - session.mean()) / session.std(ddof=1)
    return frame


def unfit(frame: Any, matrix: Any) -> str | None:
    """Why this design cannot be fitted; None where it can."""
    import numpy as np

    rows, columns = matrix.shape
    patients = frame["patient"].nunique()
    if patients < 2:
        return f"a random intercept per patient needs 2 patients or more, found {patients}"
    if np.linalg.matrix_rank(matrix) < columns:
        return (
            "factors are confounded: no session tells their effects apart (the design has not "
            "full rank)"
        )
    if rows <= columns + 2:
        return f"{rows} rated sessions are too few for {columns + 2} parameters"
    if np.ptp(frame["total"]) == 0:
        return "all totals are equal: there is no variation to explain"
    rest = frame["total"] - matrix @ np.linalg.lstsq(matrix, frame["total"], rcond=None)[0]
    if float(np.square(rest).sum()) < 1e-9 * max(1.0, float(np.square(frame["total"]).sum())):
        return "the factors explain the totals entirely: there is no residual variation"
    return None


def _fit(
    head: dict[str, Any], rated: pd.DataFrame, settings: Settings, kept: Sequence[str]
) -> dict[str, Any]:
    import numpy as np
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    frame = design(rated, settings)
    formula = f"total ~ {' + '.join(TERMS[name] for name in kept)}"

    read = MixedLM.from_formula(formula, groups="patient", data=frame)
    reason = unfit(frame, np.asarray(read.exog))
    if reason:
        return _not_fitted(head, reason)
    matrix = pd.DataFrame(read.exog, columns=read.exog_names)

    def model() -> Any:
        return MixedLM(read.endog, matrix, groups=frame["patient"].to_numpy())

    found = climb(model, _moment_ratio(frame), reml=False, rows=len(frame))
    record = {"ladder": found.attempts, "spread": found.spread, "problems": found.problems}
    if found.best is None:
        return _not_fitted(head, "no optimiser found a finite likelihood") | record
    sizes = frame.groupby("patient", observed=True).size()
    return {
        **head,
        **{
            "method": "ML",
            "status": "fitted",
            "reason": None,
            "caveat": CAVEAT if frame["chain"].nunique() < len(frame) else "",
        },
        **{
            "n": len(frame),
            "groups": int(sizes.size),
            "group_sizes": [int(sizes.min()), int(sizes.max())],
        },
        "reference": {
            name: str(frame[name].cat.categories[0])
            for name in ("model", "variant")
            if name in kept
        },
        **_estimates(found.best, settings.level),
        **_quality(found.best, frame),
        **residuals(
            np.asarray(found.best.fittedvalues),
            np.asarray(found.best.resid),
            float(found.best.scale),
        ),
        **record,
    }


def _moment_ratio(frame: Any) -> float:
    """Variance between patients' means over the variance within, kept inside (0.001, 10)."""
    groups = frame.groupby("patient", observed=True)["total"]
    within = float(groups.var(ddof=1).mean())
    if not math.isfinite(within) or within <= 0:
        return 0.5
    between = float(groups.mean().var(ddof=1)) - within / float(groups.size().mean())
    return min(10.0, max(0.001, between / within))


def _estimates(fit: Any, level: float) -> dict[str, Any]:
    """The fixed effects as published: z, and Bonferroni over every p of the fit, the intercept's
    and the variance's, too.
    """
    intervals = fit.conf_int(alpha=1 - level)
    terms = [
        {
            "term": str(name),
            "estimate": number(fit.fe_params[name]),
            "se": number(fit.bse_fe[name]),
            "z": number(fit.tvalues[name]),
            "p": number(fit.pvalues[name]),
            "p_bonferroni": number(min(1.0, fit.pvalues[name] * len(fit.pvalues))),
            "low": number(intervals.loc[name].iloc[0]),
            "high": number(intervals.loc[name].iloc[1]),
        }
        for name in fit.fe_params.index
    ]
    return {"level": level, "terms": terms}


def _quality(fit: Any, frame: Any) -> dict[str, Any]:
    """Likelihood and what it is made of.

    Parameters counted by AIC and BIC: fixed effects, patient variance, scale.
    """
    import numpy as np

    parameters = len(fit.fe_params) + 2
    fixed = np.asarray(fit.model.exog) @ np.asarray(fit.fe_params)
    spread = float(np.var(frame["total"]))
    return {
        "log_likelihood": float(fit.llf),
        "scale": float(fit.scale),
        "patient_variance": number(fit.cov_re.iloc[0, 0]),
        "aic": -2 * float(fit.llf) + 2 * parameters,
        "bic": -2 * float(fit.llf) + math.log(len(frame)) * parameters,
        "explained_variance": float(np.var(np.asarray(fit.fittedvalues))) / spread,
        "explained_variance_fixed": float(np.var(fixed)) / spread,
    }
