"""Families of contrasts: what is asked first, what second, and what is only explored.

Each adjusted within itself.

primary, secondary: what the contrasts of either family compare, pair of arms by pair (Holm).
items: the primary pairs on every item (false discovery rate: Benjamini & Hochberg 1995, JRSS B
57:289-300). The intercept and the session number are in none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.asked import Arms, asked, heads, pairs_of, question
from cbt_ray.analysis.effect.contrast import compare, contrasts
from cbt_ray.analysis.effect.layout import Chains
from cbt_ray.analysis.model import nested
from cbt_ray.analysis.model.chain_model import Prepared, difference
from cbt_ray.analysis.scores import ITEM
from cbt_ray.analysis.settings import Settings
from cbt_ray.study.contrast import Pair

if TYPE_CHECKING:
    import pandas as pd

REFITS = 20241130
"""Where the draws of `refitted` begin; the same for all studies, so that nothing printed hangs on a
choice."""


def families(
    sessions: pd.DataFrame,
    arms: Arms,
    items: Sequence[str],
    model: Mapping[str, Any],
    settings: Settings,
) -> dict[str, Any]:
    """All families on session rows with the totals that count.

    `model` is the fitted chain model, for standardized effects.
    """
    found = {}
    for name in ("primary", "secondary"):
        pairs = pairs_of(name, arms, settings)
        rows = contrasts(sessions, pairs, arms, settings)
        for row in rows:
            row |= _standardized(row, model) | _by_reml(row, arms, model)
        found[name] = _family(name, name, "holm", rows, arms, settings)
    rows = _items(sessions, pairs_of("primary", arms, settings), items, settings)
    found["items"] = _family("primary", "exploratory", "fdr", rows, arms, settings)
    if found["items"]["question"]:
        found["items"]["question"] += ", on each item"
    return found


def _family(
    of: str,
    name: str,
    adjust: str,
    rows: list[dict[str, Any]],
    arms: Arms,
    settings: Settings,
) -> dict[str, Any]:
    own = [contrast for contrast in asked(arms, settings) if contrast.family == of]
    within = {row["contrast"]: list(row["where"]) for row in rows}
    none = "no pair of arms has these levels" if own else f"no {of} contrast is asked"
    return {
        **{"family": name, "adjust": adjust, "policy": settings.unrated},
        "question": "; ".join(question(one, within.get(one.name, [])) for one in own),
        "reason": None if rows else none,
        "rows": rows,
    }


def _items(
    sessions: pd.DataFrame,
    pairs: Sequence[Pair],
    items: Sequence[str],
    settings: Settings,
) -> list[dict[str, Any]]:
    rows = []
    chains = Chains(sessions)
    for item in items:
        if ITEM + item not in sessions:
            continue
        of_chains = chains.means(sessions[ITEM + item])
        for pair, head in zip(pairs, heads(pairs), strict=True):
            own = {**head, "item": item, "level": settings.level}
            rows.append({**own, **compare(of_chains, pair.plus, pair.minus, settings)})
    return [
        row | {"q": q}
        for row, q in zip(rows, false_discovery([row["p"] for row in rows]), strict=True)
    ]


def false_discovery(p_values: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's q of each p; a withheld p counts as 1 and has no q."""
    from scipy.stats import false_discovery_control

    if not p_values:
        return []
    adjusted = false_discovery_control([1.0 if p is None else p for p in p_values])
    return [None if p is None else float(q) for p, q in zip(p_values, adjusted, strict=True)]


def _standardized(row: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """The estimate over the standard deviation of a session within an arm (patient, chain and
    session variance of the model).
    """
    variances = model.get("variances")
    if row["estimate"] is None or not variances:
        return {"d": None, "d_low": None, "d_high": None}
    deviation = sum(variances.values()) ** 0.5
    ends = {
        f"d_{end}": None if row[end] is None else row[end] / deviation for end in ("low", "high")
    }
    return {"d": row["estimate"] / deviation, **ends}


def _by_reml(row: Mapping[str, Any], arms: Arms, model: Mapping[str, Any]) -> dict[str, Any]:
    """The same contrast by REML in the chain model: weighted by sessions, so it differs a little
    where chains are unbalanced.
    """
    terms = model.get("terms", [])
    if row["estimate"] is None or not terms:
        return {"reml": None}
    columns = [term["term"] for term in terms]
    weights = difference(columns, arms[row["plus"]], arms[row["minus"]])
    return {
        "reml": sum(weight * term["estimate"] for weight, term in zip(weights, terms, strict=True))
    }


def refitted(
    sessions: pd.DataFrame,
    arms: Arms,
    model: Mapping[str, Any],
    settings: Settings,
    draws: int = 999,
) -> dict[str, Any]:
    """The primary contrasts by REML with the chain model refitted to every simulated data set:
    slow, for `thorough`.

    p is the share of data sets without an effect whose absolute t reaches the observed one; the
    interval inverts that t. Both are drawn, always the same ones: `p_error` and `end_error` are
    what other draws would make of them (a standard error).
    """
    import numpy as np

    nothing: dict[str, Any] = {"draws": 0, "rows": []}
    if model["status"] != "fitted":
        return nothing | {"reason": model["reason"]}
    rated = sessions[sessions["total"].notna()]
    there = set(map(str, rated["arm"].unique()))
    pairs = [
        pair for pair in pairs_of("primary", arms, settings) if {pair.plus, pair.minus} <= there
    ]
    own = Prepared(rated, settings)
    best = nested.fit(own.sums(), reml=True)
    if best is None or not pairs:
        return nothing | {"reason": "no primary contrast has rated sessions on both sides"}
    weights = np.array(
        [difference(list(own.columns), arms[pair.plus], arms[pair.minus]) for pair in pairs]
    )
    random, t = np.random.default_rng(REFITS), []
    for _ in range(draws):
        fit = nested.fit(own.sums(y=_drawn(own, best, random)), reml=True, ladder=False)
        if fit is not None:
            t.append(
                np.abs(weights @ fit.estimates)
                / np.sqrt(np.einsum("ij,jk,ik->i", weights, fit.covariance, weights))
            )
    estimates = weights @ best.estimates
    se = np.sqrt(np.einsum("ij,jk,ik->i", weights, best.covariance, weights))
    drawn = np.array(t)
    critical = np.quantile(drawn, settings.level, axis=0)
    off = (settings.level * (1 - settings.level) / len(drawn)) ** 0.5
    ends = np.quantile(drawn, [settings.level - off, min(1.0, settings.level + off)], axis=0)
    p = (1 + (drawn >= np.abs(estimates / se)).sum(axis=0)) / (len(drawn) + 1)
    rows = [
        {
            **{
                "label": head["label"],
                "estimate": float(estimates[i]),
                "se": float(se[i]),
                "p": float(p[i]),
            },
            **{
                "low": float(estimates[i] - critical[i] * se[i]),
                "high": float(estimates[i] + critical[i] * se[i]),
            },
            **{
                "p_error": float((p[i] * (1 - p[i]) / len(drawn)) ** 0.5),
                "end_error": float((ends[1] - ends[0])[i] / 2 * se[i]),
            },
        }
        for i, head in enumerate(heads(pairs))
    ]
    return {"draws": len(drawn), "rows": rows, "reason": None}


def _drawn(own: Prepared, best: nested.Fit, random: Any) -> Any:
    """A response without any effect, with the fitted variances."""
    patient = random.standard_normal(own.patients) * best.variances["patient"] ** 0.5
    chain = random.standard_normal(own.chains) * best.variances["chain"] ** 0.5
    return (
        patient[own.patient]
        + chain[own.chain]
        + random.standard_normal(len(own.y)) * best.residual_variance**0.5
    )
