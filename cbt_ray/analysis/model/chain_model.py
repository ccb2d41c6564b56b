"""The default model: total ~ the factors and their interactions + session_z + (1 | patient) +
(1 | chain), whose error term is the chain.

REML for the estimates and variances, ML for likelihood ratios and AIC, since REML likelihoods of
different fixed effects cannot be compared (Pinheiro & Bates 2000, section 2.4). It prints no p per
term: with a handful of patients z is not normal, and the contrasts have their own error terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.model import nested
from cbt_ray.analysis.model.mixed import SESSION, design, factors_of, fixed, term, unfit
from cbt_ray.analysis.model.residual import residuals
from cbt_ray.analysis.scores import FACTOR
from cbt_ray.analysis.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]

RANDOM = "(1 | patient) + (1 | chain)"
BY_ML = (
    "log_likelihood",
    "variances",
    "aic",
    "bic",
    "interaction",
    "chain",
    "ladder",
    "spread",
    "problems",
)


class Prepared:
    """Session rows as matrices: fixed effects by name, codes of patients and chains."""

    def __init__(self, rated: pd.DataFrame, settings: Settings, *, words: bool = False) -> None:
        import pandas as pd

        self.frame = design(rated, settings)
        self.y = self.frame["total"].to_numpy(dtype=float)
        self.patient, patients = pd.factorize(self.frame["patient"])
        self.chain, chains = pd.factorize(self.frame["chain"])
        self.patients, self.chains = len(patients), len(chains)
        self.columns = self._columns(words=words)

    def _columns(self, *, words: bool) -> dict[str, Array]:
        """Name -> column.

        Factors in treatment coding, so that names are those of the published table.
        """
        factors = factors_of(self.frame)
        columns = fixed(self.frame, factors)
        main = [
            {name: column for name, column in columns.items() if name.startswith(f"{term(one)}[")}
            for one in factors
        ]
        columns |= dict(_products(main))
        columns = told_apart(columns, self.frame)
        if self.frame[SESSION].notna().all():
            columns |= {SESSION: fixed(self.frame, [SESSION])[SESSION]}
        if words:
            count = self.frame["words"].to_numpy(dtype=float)
            columns["words_z"] = (count - count.mean()) / count.std(ddof=1)
        return columns

    def matrix(self, names: Sequence[str] | None = None) -> Array:
        """(sessions, k) of the named columns, or of all."""
        import numpy as np

        return np.column_stack([self.columns[name] for name in (names or self.columns)])

    def sums(
        self, names: Sequence[str] | None = None, *, chains: bool = True, y: Array | None = None
    ) -> nested.Sums:
        """What the likelihood needs."""
        named = list(names or self.columns)
        matrix, response = self.matrix(named), self.y if y is None else y
        return nested.sums(matrix, response, named, self.patient, self.chain if chains else None)


def _products(main: Sequence[Mapping[str, Array]]) -> Iterator[tuple[str, Array]]:
    """Interactions: name -> column, of two factors first."""
    import numpy as np

    for size in range(2, len(main) + 1):
        for factors in combinations(main, size):
            for levels in product(*(factor.items() for factor in factors)):
                column = np.prod([one for _, one in levels], axis=0)
                if column.any():
                    yield ":".join(name for name, _ in levels), column


def told_apart(columns: Mapping[str, Array], frame: pd.DataFrame) -> dict[str, Array]:
    """The columns without those that say nothing new of the arms, as where two factors go together
    in all of them.
    """
    import numpy as np

    factors = [FACTOR + name for name in factors_of(frame)]
    first = ~frame[factors].duplicated().to_numpy() if factors else np.arange(len(frame)) < 1
    kept: dict[str, Array] = {}
    for name, column in columns.items():
        table = np.column_stack([*(one[first] for one in kept.values()), column[first]])
        if np.linalg.matrix_rank(table) > len(kept):
            kept[name] = column
    return kept


def difference(
    columns: Sequence[str], plus: Mapping[str, str], minus: Mapping[str, str]
) -> list[float]:
    """A contrast of two arms, by their levels, as weights of the model's columns.

    The factors' order is that of the columns.
    """
    main = dict.fromkeys(name for name in columns if ":" not in name)
    ends = []
    for own in (plus, minus):
        levels = {f"{term(factor)}[T.{level}]" for factor, level in own.items()}
        names = [name for name in main if name in levels]
        there = {
            ":".join(part)
            for size in range(1, len(names) + 1)
            for part in combinations(names, size)
        }
        ends.append([float(name in there) for name in columns])
    return [a - b for a, b in zip(*ends, strict=True)]


def chain_model(sessions: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """Fit it on session rows whose `total` is NaN where they do not count.

    Where it cannot be fitted it says why.
    """
    rated = sessions[sessions["total"].notna()]
    head: dict[str, Any] = {"name": "default", "method": "REML", "problems": [], "ladder": []}
    if not len(rated):
        return {
            **head,
            "formula": _formula([]),
            "status": "not_fitted",
            "reason": "no rated session",
        }
    own = Prepared(rated, settings)
    head["formula"] = _formula(list(own.columns))
    reason = unfit(own.frame, own.matrix()) or (
        "a random intercept per chain needs chains with 2 sessions"
        if own.chains == len(own.y)
        else None
    )
    best = None if reason else nested.fit(own.sums(), reml=True)
    if best is None:
        return {
            **head,
            "status": "not_fitted",
            "reason": reason or "no optimiser found a finite likelihood",
        }
    return {
        **head,
        **{
            "status": "fitted",
            "reason": None,
            "n": len(own.y),
            "patients": own.patients,
            "chains": own.chains,
        },
        "reference": {
            name: str(own.frame[FACTOR + name].cat.categories[0]) for name in factors_of(own.frame)
        },
        "terms": [
            {"term": name, "estimate": float(value), "se": float(best.covariance[i, i] ** 0.5)}
            for i, (name, value) in enumerate(zip(own.columns, best.estimates, strict=True))
        ],
        "variances": {**best.variances, "session": best.residual_variance},
        "log_likelihood": best.log_likelihood,
        "ml": _by_maximum_likelihood(own),
        **_left_over(own, best),
        **{"ladder": list(best.attempts), "spread": best.spread, "problems": list(best.problems)},
    }


def _formula(columns: Sequence[str]) -> str:
    """The formula of what was fitted: a factor with one level drops out."""
    names = dict.fromkeys(
        part.partition("[")[0] for name in columns for part in name.split(":") if "[" in part
    )
    joined = " * " if any(":" in name for name in columns) else " + "
    parts = [joined.join(names)] if names else []
    parts += [name for name in columns if name == SESSION]
    return f"total ~ {' + '.join(parts) or '1'} + {RANDOM}"


def _by_maximum_likelihood(own: Prepared) -> dict[str, Any]:
    """Log-likelihood, AIC, BIC, and likelihood ratios of the interaction and of the chains'
    intercept.
    """
    full = nested.fit(own.sums(), reml=False)
    if full is None:
        return dict.fromkeys(BY_ML)
    parameters = len(own.columns) + 3
    interaction = [name for name in own.columns if ":" in name]
    plain = [name for name in own.columns if ":" not in name]
    return {
        "log_likelihood": full.log_likelihood,
        "variances": {**full.variances, "session": full.residual_variance},
        "aic": -2 * full.log_likelihood + 2 * parameters,
        "bic": -2 * full.log_likelihood + math.log(len(own.y)) * parameters,
        "interaction": {
            "effect": " x ".join(factors_of(own.frame)),
            **_ratio(full, nested.fit(own.sums(plain), reml=False), len(interaction)),
        }
        if interaction
        else None,
        "chain": _ratio(full, nested.fit(own.sums(chains=False), reml=False), 1, boundary=True),
        **{"ladder": list(full.attempts), "spread": full.spread, "problems": list(full.problems)},
    }


def _ratio(
    full: nested.Fit, less: nested.Fit | None, df: int, *, boundary: bool = False
) -> dict[str, Any]:
    """A likelihood ratio against chi squared.

    At the boundary half of it (Self & Liang 1987, JASA 82:605-610).
    """
    from scipy.stats import chi2

    if less is None:
        return {"chi2": None, "df": df, "p": None, "reference": None}
    value = max(0.0, 2 * (full.log_likelihood - less.log_likelihood))
    p = float(chi2.sf(value, df)) * (0.5 if boundary else 1.0)
    return {
        "chi2": value,
        "df": df,
        "p": p,
        "reference": "half of chi squared: a variance cannot be below zero"
        if boundary
        else "chi squared",
    }


def _left_over(own: Prepared, best: nested.Fit) -> dict[str, Any]:
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
