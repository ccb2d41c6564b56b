"""The published mixed model and its reduced form where a factor has one level.

Source: arXiv 2412.00251 (Statistical analysis): total_score ~ C(model) + C(variant) + session_z + (1 | patient), maximum
likelihood. session_z is the session number as a z-score over all fitted rows (ddof 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cbt_ray.analysis.contrast import Counted
from cbt_ray.analysis.ladder import climb
from cbt_ray.analysis.residual import residuals
from cbt_ray.analysis.settings import Settings

CAVEAT = (
    "This model treats every session as an independent observation given its patient. The sessions of a chain are not: they "
    "share a therapist, a patient and each other's summaries, so its standard errors are too small. One training run per model: "
    "inference is to that checkpoint."
)
TERMS = {"model": "C(model)", "variant": "C(variant)", "session_z": "session_z"}
RANDOM = "(1 | patient)"
FULL = f"total ~ {' + '.join(TERMS.values())} + {RANDOM}"


def mixed(counted: Counted, settings: Settings) -> dict[str, Any]:
    """The published model, and where its formula cannot be fitted a reduced one that is named as such."""
    single = _single_levels(counted)
    full = {"name": "published", "formula": FULL, "dropped": []}
    if not single:
        return {"published": _fit(full, counted, settings, list(TERMS)), "reduced": None}
    reason = "; ".join(f"{TERMS[name]} cannot be estimated: {why}" for name, why in single.items())
    published = _not_fitted(full, reason if counted else "no rated session")
    kept = [name for name in TERMS if name not in single]
    if not kept or not counted:
        return {"published": published, "reduced": None}
    formula = f"total ~ {' + '.join(TERMS[name] for name in kept)} + {RANDOM}"
    reduced = {"name": "reduced", "formula": formula, "dropped": [f"{TERMS[name]}: {why}" for name, why in single.items()]}
    return {"published": published, "reduced": _fit(reduced, counted, settings, kept)}


def _single_levels(counted: Counted) -> dict[str, str]:
    """Terms whose factor has one level, and which."""
    levels: dict[str, set[Any]] = {
        "model": {score.row.model for score, _ in counted},
        "variant": {score.row.variant for score, _ in counted},
        "session_z": {score.row.session for score, _ in counted},
    }
    names = {"model": "one model", "variant": "one variant", "session_z": "one session number"}
    return {
        term: f"{names[term]} only ({next(iter(found))})" if found else "no rated session"
        for term, found in levels.items()
        if len(found) < 2
    }


def _not_fitted(head: dict[str, Any], reason: str) -> dict[str, Any]:
    return {**head, "method": "ML", "status": "not_fitted", "reason": reason, "problems": [], "ladder": [], "caveat": CAVEAT}


def _frame(counted: Counted, settings: Settings) -> Any:
    """One row a session; the first category of a factor is its reference level."""
    import pandas as pd

    columns = {
        "total": [total for _, total in counted],
        "session": [float(score.row.session) for score, _ in counted],
        **{name: [getattr(score.row, name) for score, _ in counted] for name in ("model", "variant", "patient")},
    }
    frame = pd.DataFrame(columns)
    variants = sorted(set(columns["variant"]), key=lambda name: (name != settings.treatment, name))
    frame["variant"] = pd.Categorical(frame["variant"], categories=variants)
    frame["model"] = pd.Categorical(frame["model"], categories=sorted(set(columns["model"])))
    frame["session_z"] = (frame["session"] - frame["session"].mean()) / frame["session"].std(ddof=1)
    return frame


def _unfit(frame: Any, matrix: Any) -> str | None:
    """Why this design cannot be fitted; None where it can."""
    import numpy as np

    rows, columns = matrix.shape
    patients = frame["patient"].nunique()
    if patients < 2:
        return f"a random intercept per patient needs 2 patients or more, found {patients}"
    if np.linalg.matrix_rank(matrix) < columns:
        return "factors are confounded: no session tells their effects apart (the design has not full rank)"
    if rows <= columns + 2:
        return f"{rows} rated sessions are too few for {columns + 2} parameters"
    if np.ptp(frame["total"]) == 0:
        return "all totals are equal: there is no variation to explain"
    rest = frame["total"] - matrix @ np.linalg.lstsq(matrix, frame["total"], rcond=None)[0]
    if float(np.square(rest).sum()) < 1e-9 * max(1.0, float(np.square(frame["total"]).sum())):
        return "the factors explain the totals entirely: there is no residual variation"
    return None


def _fit(head: dict[str, Any], counted: Counted, settings: Settings, kept: Sequence[str]) -> dict[str, Any]:
    import numpy as np
    from statsmodels.regression.mixed_linear_model import MixedLM

    frame = _frame(counted, settings)
    formula = f"total ~ {' + '.join(TERMS[name] for name in kept)}"

    def model() -> Any:
        return MixedLM.from_formula(formula, groups="patient", data=frame)

    reason = _unfit(frame, np.asarray(model().exog))
    if reason:
        return _not_fitted(head, reason)
    found = climb(model, _moment_ratio(frame), reml=False)
    record = {"ladder": found.attempts, "spread": found.spread, "problems": found.problems}
    if found.best is None:
        return _not_fitted(head, "no optimiser found a finite likelihood") | record
    sizes = frame.groupby("patient").size()
    return {
        **head,
        **{"method": "ML", "status": "fitted", "reason": None, "caveat": CAVEAT},
        **{"n": len(frame), "groups": int(sizes.size), "group_sizes": [int(sizes.min()), int(sizes.max())]},
        "reference": {name: str(frame[name].cat.categories[0]) for name in ("model", "variant") if name in kept},
        **_estimates(found.best, settings.level),
        **_quality(found.best, frame),
        **residuals(np.asarray(found.best.fittedvalues), np.asarray(found.best.resid), float(found.best.scale)),
        **record,
    }


def _moment_ratio(frame: Any) -> float:
    """Variance between patients' means over the variance within, kept inside (0.001, 10)."""
    groups = frame.groupby("patient")["total"]
    within = float(groups.var(ddof=1).mean())
    if not math.isfinite(within) or within <= 0:
        return 0.5
    between = float(groups.mean().var(ddof=1)) - within / float(groups.size().mean())
    return min(10.0, max(0.001, between / within))


def _estimates(fit: Any, level: float) -> dict[str, Any]:
    intervals = fit.conf_int(alpha=1 - level)
    terms = [
        {
            "term": str(name),
            "estimate": _number(fit.fe_params[name]),
            "se": _number(fit.bse_fe[name]),
            "z": _number(fit.tvalues[name]),
            "p": _number(fit.pvalues[name]),
            "low": _number(intervals.loc[name].iloc[0]),
            "high": _number(intervals.loc[name].iloc[1]),
        }
        for name in fit.fe_params.index
    ]
    return {"level": level, "terms": terms}


def _quality(fit: Any, frame: Any) -> dict[str, Any]:
    """Likelihood and what it is made of. Parameters counted by AIC and BIC: fixed effects, patient variance, scale."""
    import numpy as np

    parameters = len(fit.fe_params) + 2
    fixed = np.asarray(fit.model.exog) @ np.asarray(fit.fe_params)
    spread = float(np.var(frame["total"]))
    return {
        "log_likelihood": float(fit.llf),
        "scale": float(fit.scale),
        "patient_variance": _number(fit.cov_re.iloc[0, 0]),
        "aic": -2 * float(fit.llf) + 2 * parameters,
        "bic": -2 * float(fit.llf) + math.log(len(frame)) * parameters,
        "explained_variance": float(np.var(np.asarray(fit.fittedvalues))) / spread,
        "explained_variance_fixed": float(np.var(fixed)) / spread,
    }


def _number(value: Any) -> float | None:
    """A finite number, else null: JSON has no NaN."""
    return float(value) if math.isfinite(value) else None
