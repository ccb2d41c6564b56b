"""What claims need beyond the analysis: small computations on session rows, named in a claims file
with their arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.claims.path import walk
from cbt_ray.analysis.effect.contrast import compare
from cbt_ray.analysis.effect.layout import Chains
from cbt_ray.analysis.model import nested
from cbt_ray.analysis.model.design import SESSION, design, factors_of, fixed, term, unfit
from cbt_ray.analysis.scores import FACTOR, ITEM
from cbt_ray.analysis.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Evidence:
    """What a claim is tested on."""

    analysis: Mapping[str, Any]
    """As JSON: a claims file names its numbers by their paths there."""
    sessions: pd.DataFrame
    """Session rows of the headline's view and judge, `total` NaN where a session does not count."""
    settings: Settings


Computation = Callable[..., dict[str, Any]]


def published_contrast(
    evidence: Evidence, factor: str, plus: str, minus: str, where: Mapping[str, str]
) -> dict[str, Any]:
    """Two levels of a factor by the published model's own terms and error, fitted to the sessions
    of `where` alone.

    The published model has no interaction, so it cannot tell the difference within one level of
    another factor apart. This is the same formula, with z from maximum likelihood, on the
    sessions that such a claim is about.
    """
    import numpy as np
    import pandas as pd
    from scipy.special import ndtr, ndtri

    rated = evidence.sessions[evidence.sessions["total"].notna()]
    for name, level in where.items():
        rated = rated[rated[FACTOR + name] == level]
    if not {plus, minus} <= set(rated[FACTOR + factor]):
        return {"reason": f"no rated session of {plus} or of {minus}"}
    frame = design(rated, evidence.settings)
    columns = fixed(frame, [*factors_of(frame), SESSION])
    matrix, names = np.column_stack(list(columns.values())), list(columns)
    reason = unfit(frame, matrix)
    if reason:
        return {"reason": reason}
    y, patients = frame["total"].to_numpy(dtype=float), pd.factorize(frame["patient"])[0]
    fit = nested.fit(nested.sums(matrix, y, names, patients, None), reml=False)
    if fit is None:
        return {"reason": "no optimiser found a finite likelihood"}
    weights = np.array(
        [
            float(name == f"{term(factor)}[T.{plus}]") - float(name == f"{term(factor)}[T.{minus}]")
            for name in names
        ]
    )
    estimate, se = (
        float(weights @ fit.estimates),
        float((weights @ fit.covariance @ weights) ** 0.5),
    )
    half = float(ndtri(0.5 + evidence.settings.level / 2)) * se
    return {
        "estimate": estimate,
        "se": se,
        "p": 2 * float(ndtr(-abs(estimate / se))),
        "low": estimate - half,
        "high": estimate + half,
    }


def mean_over_arms(evidence: Evidence, factor: str, plus: str, minus: str) -> dict[str, Any]:
    """The difference of two levels in the mean over all arms that have them, as a publication
    claims it, with how it varies between patients as error term.
    """
    chains = Chains(evidence.sessions, by=FACTOR + factor)
    means = chains.means(evidence.sessions["total"])
    return vars(compare(means, plus, minus, evidence.settings))


def item_below(evidence: Evidence, item: str, factor: str, level: str) -> dict[str, Any]:
    """How far an item lies from the mean of all items, in the arm of this level where it lies
    highest.
    """
    found = {
        arm: means[item] - sum(means.values()) / len(means)
        for arm, means in _item_means(evidence, factor, level).items()
        if item in means
    }
    if not found:
        return {"reason": f"no arm of {level} has the item {item}"}
    return {"value": max(found.values()), "arms": found}


def gains(
    evidence: Evidence, factor: str, plus: str, minus: str, items: Sequence[str]
) -> dict[str, Any]:
    """The place, by gain in the mean over arms, of that one of some items which gained least."""
    sides = [_item_means(evidence, factor, level) for level in (plus, minus)]
    if not all(sides):
        return {"reason": f"no arm of {plus} or of {minus}"}
    means = [
        {
            item: sum(own[item] for own in side.values()) / len(side)
            for item in next(iter(side.values()))
        }
        for side in sides
    ]
    gained = {item: means[0][item] - means[1][item] for item in means[0]}
    order = sorted(gained, key=lambda item: -gained[item])
    if not set(items) <= set(order):
        return {"reason": "the table lacks one of the items"}
    return {"value": max(order.index(item) + 1 for item in items), "order": order, "gains": gained}


def _item_means(evidence: Evidence, factor: str, level: str) -> dict[str, dict[str, float]]:
    """Arm -> item -> mean over sessions, of the arms of this level."""
    own = evidence.sessions[evidence.sessions[FACTOR + factor] == level]
    columns = [name for name in own.columns if name.startswith(ITEM)]
    means = own.groupby("arm", observed=True)[columns].mean()
    return {
        str(arm): {name.removeprefix(ITEM): float(row[name]) for name in columns}
        for arm, row in means.iterrows()
    }


def bonferroni(evidence: Evidence, term: str, tests: int) -> dict[str, Any]:
    """A term's p in the published model times the number of tests."""
    terms = evidence.analysis["models"]["published"].get("terms", [])
    found = next((row["p"] for row in terms if row["term"] == term), None)
    return (
        {"reason": f"the published model has no term {term}"}
        if found is None
        else {"value": min(1.0, tests * found)}
    )


def ratio(evidence: Evidence, over: Sequence[Any], under: Sequence[Any]) -> dict[str, Any]:
    """One number of the analysis over another."""
    above, below = walk(evidence.analysis, over), walk(evidence.analysis, under)
    return (
        {"value": above / below}
        if above is not None and below
        else {"reason": "the analysis has no such numbers"}
    )


COMPUTATIONS: dict[str, Computation] = {
    function.__name__: function
    for function in (published_contrast, mean_over_arms, item_below, gains, bonferroni, ratio)
}
