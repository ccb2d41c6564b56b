"""The published mixed model and its reduced form where a factor has one level.

Source: arXiv 2412.00251 (Statistical analysis): total_score ~ C(model) + C(variant) + session_z +
(1 | patient), maximum likelihood; here with the factors of the study. session_z is the session
number as a z-score over all fitted rows (ddof 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.describe import arms, levels, number
from cbt_ray.analysis.effect.asked import asked, differing
from cbt_ray.analysis.model.ladder import climb
from cbt_ray.analysis.model.residual import residuals
from cbt_ray.analysis.scores import FACTOR
from cbt_ray.analysis.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]

CAVEAT = (
    "This model treats every session as an independent observation given its patient. The sessions "
    "of a chain are not: they "
    "share a therapist and a patient, so its standard errors are too small."
)
SESSION = "session_z"
RANDOM = "(1 | patient)"


def published(sessions: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """The published model, and where its formula cannot be fitted a reduced one that is named as
    such.

    `sessions` are session rows whose `total` is NaN where they do not count.
    """
    rated = sessions[sessions["total"].notna()]
    single = _single_levels(rated)
    terms = [*factors_of(sessions), SESSION]
    full = {"name": "published", "formula": _formula(terms), "dropped": []}
    if not single:
        return {"published": _fit(full, rated, settings, terms), "reduced": None}
    reason = "; ".join(f"{term(name)} cannot be estimated: {why}" for name, why in single.items())
    unfitted = _not_fitted(full, reason if len(rated) else "no rated session")
    kept = [name for name in terms if name not in single]
    if not kept or not len(rated):
        return {"published": unfitted, "reduced": None}
    reduced = {
        "name": "reduced",
        "formula": _formula(kept),
        "dropped": [f"{term(name)}: {why}" for name, why in single.items()],
    }
    return {"published": unfitted, "reduced": _fit(reduced, rated, settings, kept)}


def factors_of(table: pd.DataFrame) -> list[str]:
    """The factors of session rows."""
    return [name.removeprefix(FACTOR) for name in table.columns if name.startswith(FACTOR)]


def term(name: str) -> str:
    """How formulas call a factor, or the session number."""
    return name if name == SESSION else f"C({name})"


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
    """The columns that formulas use: `factor:*`, session_z (the number as z-score), total, patient,
    chain, words.

    The first category of a factor is its reference level: the first contrast's `plus`, as
    published, else by name.
    """
    import pandas as pd

    frame = rated[["total", "patient", "chain", "words"]].copy()
    first = reference(rated, settings)
    for name in factors_of(rated):
        known = rated[FACTOR + name].astype(str)
        levels = sorted(known.unique(), key=lambda level: (level != first.get(name), level))
        frame[FACTOR + name] = pd.Categorical(known, categories=levels)
    session = rated["session"].astype(float)
    frame["session_z"] = (session - session.mean()) / session.std(ddof=1)
    return frame


def reference(rated: pd.DataFrame, settings: Settings) -> dict[str, str]:
    """Factor -> the level of the first contrast's `plus`, of the factors that it compares."""
    known = asked(levels(arms(rated, settings)), settings)
    return {name: known[0].plus[name] for name in differing(known[0])} if known else {}


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
    columns = fixed(frame, kept)
    matrix, y = pd.DataFrame(columns), frame["total"].to_numpy(dtype=float)
    reason = unfit(frame, matrix.to_numpy())
    if reason:
        return _not_fitted(head, reason)

    def model() -> Any:
        return MixedLM(y, matrix, groups=frame["patient"].to_numpy())

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
            name: str(frame[FACTOR + name].cat.categories[0]) for name in kept if name != SESSION
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


def fixed(frame: pd.DataFrame, terms: Sequence[str]) -> dict[str, Array]:
    """Name -> column: the intercept, factors in treatment coding, the session number."""
    import numpy as np

    columns = {"Intercept": np.ones(len(frame))}
    for name in terms:
        if name == SESSION:
            columns[name] = frame[name].to_numpy(dtype=float)
            continue
        values = frame[FACTOR + name]
        for level in values.cat.categories[1:]:
            columns[f"{term(name)}[T.{level}]"] = (values == level).to_numpy(dtype=float)
    return columns


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
