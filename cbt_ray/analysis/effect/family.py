"""Families of contrasts: what is asked first, what second, and what is only explored.

Each adjusted within itself.

primary, secondary: what the contrasts of either family compare, pair of arms by pair (Holm).
items: the primary pairs on every item (false discovery rate: Benjamini & Hochberg 1995, JRSS B
57:289-300). The intercept and the session number are in none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cbt_ray.analysis.effect.asked import Arms, asked, heads, pairs_of, question
from cbt_ray.analysis.effect.contrast import Contrasted, Effect, compare, contrasts
from cbt_ray.analysis.effect.layout import Chains
from cbt_ray.analysis.model import nested
from cbt_ray.analysis.model.chain_model import ChainModel
from cbt_ray.analysis.model.design import Prepared, difference
from cbt_ray.analysis.scores import ITEM
from cbt_ray.analysis.settings import Policy, Settings
from cbt_ray.study.contrast import Pair

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]

R = TypeVar("R", bound=Contrasted)
REFITS = 20241130
"""Where the draws of `refitted` begin; the same for all studies, so that nothing printed hangs on a
choice."""


@dataclass(frozen=True, kw_only=True)
class TotalEffect(Effect):
    """A contrast on totals, standardized and by REML, too."""

    d: float | None = None
    """The estimate over the standard deviation of a session within an arm (patient, chain and
    session variance of the chain model)."""
    d_low: float | None = None
    d_high: float | None = None
    reml: float | None = None
    """In the chain model: weighted by sessions, so it differs a little where chains are
    unbalanced."""


@dataclass(frozen=True, kw_only=True)
class ItemEffect(Contrasted):
    """A contrast on one item."""

    item: str
    q: float | None
    """False discovery rate."""


@dataclass(frozen=True)
class Family(Generic[R]):
    """Contrasts that are adjusted together."""

    family: str
    question: str
    adjust: str
    policy: Policy
    reason: str | None
    """Why it has no row."""
    rows: Sequence[R]


@dataclass(frozen=True)
class Families:
    """All that is compared."""

    primary: Family[TotalEffect]
    secondary: Family[TotalEffect]
    items: Family[ItemEffect]


def families(
    sessions: pd.DataFrame,
    arms: Arms,
    items: Sequence[str],
    model: ChainModel,
    settings: Settings,
) -> Families:
    """All families on session rows with the totals that count.

    `model` is the fitted chain model, for standardized effects.
    """
    totals = [
        [_beside(row, arms, model, settings) for row in contrasts(sessions, pairs, arms, settings)]
        for pairs in (pairs_of(name, arms, settings) for name in ("primary", "secondary"))
    ]
    of_items = _items(sessions, pairs_of("primary", arms, settings), items, settings)
    explored = _family("primary", "exploratory", "fdr", of_items, arms, settings)
    return Families(
        _family("primary", "primary", "holm", totals[0], arms, settings),
        _family("secondary", "secondary", "holm", totals[1], arms, settings),
        replace(explored, question=explored.question and f"{explored.question}, on each item"),
    )


def _family(
    of: str, name: str, adjust: str, rows: Sequence[R], arms: Arms, settings: Settings
) -> Family[R]:
    own = [contrast for contrast in asked(arms, settings) if contrast.family == of]
    within = {row.contrast: list(row.where) for row in rows}
    none = "no pair of arms has these levels" if own else f"no {of} contrast is asked"
    return Family(
        family=name,
        question="; ".join(question(one, within.get(one.name, [])) for one in own),
        adjust=adjust,
        policy=settings.unrated,
        reason=None if rows else none,
        rows=rows,
    )


def _items(
    sessions: pd.DataFrame, pairs: Sequence[Pair], items: Sequence[str], settings: Settings
) -> list[ItemEffect]:
    chains = Chains(sessions)
    rows = [
        ItemEffect(
            **vars(head),
            **vars(compare(of_chains, head.plus, head.minus, settings.of_item(item))),
            level=settings.level,
            item=item,
            q=None,
        )
        for item in items
        if ITEM + item in sessions
        for of_chains in [chains.means(sessions[ITEM + item])]
        for head in heads(pairs)
    ]
    adjusted = false_discovery([row.p for row in rows])
    return [replace(row, q=q) for row, q in zip(rows, adjusted, strict=True)]


def false_discovery(p_values: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's q of each p; a withheld p counts as 1 and has no q."""
    from scipy.stats import false_discovery_control

    if not p_values:
        return []
    adjusted = false_discovery_control([1.0 if p is None else p for p in p_values])
    return [None if p is None else float(q) for p, q in zip(p_values, adjusted, strict=True)]


def _beside(row: Effect, arms: Arms, model: ChainModel, settings: Settings) -> TotalEffect:
    """A row with what the chain model says of it; only scores have a standard deviation."""
    found = TotalEffect(**vars(row))
    if row.estimate is None:
        return found
    if model.variances and settings.kind == "score":
        deviation = sum(model.variances.values()) ** 0.5
        low, high = (None if end is None else end / deviation for end in (row.low, row.high))
        found = replace(found, d=row.estimate / deviation, d_low=low, d_high=high)
    if model.terms:
        columns = [term.term for term in model.terms]
        weights = difference(columns, arms[row.plus], arms[row.minus])
        parts = (weight * term.estimate for weight, term in zip(weights, model.terms, strict=True))
        found = replace(found, reml=sum(parts))
    return found


@dataclass(frozen=True)
class Refit:
    """A contrast by REML, against data sets without an effect."""

    label: str
    estimate: float
    se: float
    p: float
    """The share of data sets whose absolute t reaches the observed one."""
    low: float
    high: float
    p_error: float
    end_error: float
    """What other draws would make of p and of an end: a standard error."""


@dataclass(frozen=True)
class Refits:
    """The chain model refitted to so many simulated data sets."""

    draws: int
    rows: Sequence[Refit] = ()
    reason: str | None = None


def refitted(
    sessions: pd.DataFrame, arms: Arms, model: ChainModel, settings: Settings, draws: int = 999
) -> Refits:
    """The primary contrasts by REML with the chain model refitted to every simulated data set:
    slow, for `thorough`.

    The interval inverts the test. The draws are always the same ones.
    """
    import numpy as np

    if model.status != "fitted":
        return Refits(0, reason=model.reason)
    rated = sessions[sessions["total"].notna()]
    there = set(map(str, rated["arm"].unique()))
    pairs = [
        pair for pair in pairs_of("primary", arms, settings) if {pair.plus, pair.minus} <= there
    ]
    own = Prepared(rated, settings)
    best = nested.fit(own.sums(), reml=True)
    if best is None or not pairs:
        return Refits(0, reason="no primary contrast has rated sessions on both sides")
    weights = np.array(
        [difference(list(own.columns), arms[pair.plus], arms[pair.minus]) for pair in pairs]
    )
    drawn = np.array(list(_drawn(own, best, weights, draws)))
    labels = [head.label for head in heads(pairs)]
    return Refits(len(drawn), _rows(labels, best, weights, drawn, settings.level))


def _drawn(own: Prepared, best: nested.Fit, weights: Array, draws: int) -> Iterator[Array]:
    """The absolute t of each contrast in data sets with the fitted variances and no effect."""
    import numpy as np

    random = np.random.default_rng(REFITS)
    for _ in range(draws):
        patient = random.standard_normal(own.patients) * best.variances["patient"] ** 0.5
        chain = random.standard_normal(own.chains) * best.variances["chain"] ** 0.5
        session = random.standard_normal(len(own.y)) * best.residual_variance**0.5
        y = patient[own.patient] + chain[own.chain] + session
        fit = nested.fit(own.sums(y=y), reml=True, ladder=False)
        if fit is not None:
            yield np.abs(weights @ fit.estimates) / _se(fit, weights)


def _se(fit: nested.Fit, weights: Array) -> Array:
    import numpy as np

    return np.asarray(np.sqrt(np.einsum("ij,jk,ik->i", weights, fit.covariance, weights)))


def _rows(
    labels: Sequence[str], best: nested.Fit, weights: Array, drawn: Array, level: float
) -> list[Refit]:
    import numpy as np

    estimates, se, count = weights @ best.estimates, _se(best, weights), len(drawn)
    critical = np.quantile(drawn, level, axis=0)
    off = (level * (1 - level) / count) ** 0.5
    ends = np.quantile(drawn, [level - off, min(1.0, level + off)], axis=0)
    p = (1 + (drawn >= np.abs(estimates / se)).sum(axis=0)) / (count + 1)
    return [
        Refit(
            label=label,
            estimate=float(estimates[i]),
            se=float(se[i]),
            p=float(p[i]),
            low=float(estimates[i] - critical[i] * se[i]),
            high=float(estimates[i] + critical[i] * se[i]),
            p_error=float((p[i] * (1 - p[i]) / count) ** 0.5),
            end_error=float((ends[1] - ends[0])[i] / 2 * se[i]),
        )
        for i, label in enumerate(labels)
    ]
