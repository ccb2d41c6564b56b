"""What claims need beyond the analysis: small computations on session rows, named in a claims file
with their arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

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

    analysis: JsonValue
    """As JSON: a claims file names its numbers by their paths there."""
    sessions: pd.DataFrame
    """Session rows of the headline's view and judge, `total` NaN where a session does not count."""
    settings: Settings


@dataclass(frozen=True)
class Found:
    """A number that a claim is held against, or why there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """Of no difference, where the value is one."""
    reason: str | None = None


Computation = Callable[..., Found]


def published_contrast(
    evidence: Evidence, factor: str, plus: str, minus: str, where: Mapping[str, str]
) -> Found:
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
        return Found(reason=f"no rated session of {plus} or of {minus}")
    frame = design(rated, evidence.settings)
    columns = fixed(frame, [*factors_of(frame), SESSION])
    matrix, names = np.column_stack(list(columns.values())), list(columns)
    reason = unfit(frame, matrix)
    if reason:
        return Found(reason=reason)
    y, patients = frame["total"].to_numpy(dtype=float), pd.factorize(frame["patient"])[0]
    fit = nested.fit(nested.sums(matrix, y, names, patients, None), reml=False)
    if fit is None:
        return Found(reason="no optimiser found a finite likelihood")
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
    p = 2 * float(ndtr(-abs(estimate / se)))
    return Found(estimate, estimate - half, estimate + half, p)


def mean_over_arms(evidence: Evidence, factor: str, plus: str, minus: str) -> Found:
    """The difference of two levels in the mean over all arms that have them, as a publication
    claims it, with how it varies between patients as error term.
    """
    chains = Chains(evidence.sessions, by=FACTOR + factor)
    row = compare(chains.means(evidence.sessions["total"]), plus, minus, evidence.settings)
    return Found(row.estimate, row.low, row.high, row.p, row.reason)


def item_below(evidence: Evidence, item: str, factor: str, level: str) -> Found:
    """How far an item lies from the mean of all items, in the arm of this level where it lies
    highest.
    """
    found = [
        means[item] - sum(means.values()) / len(means)
        for means in _item_means(evidence, factor, level)
        if item in means
    ]
    return Found(max(found)) if found else Found(reason=f"no arm of {level} has the item {item}")


def gains(evidence: Evidence, factor: str, plus: str, minus: str, items: Sequence[str]) -> Found:
    """The place, by gain in the mean over arms, of that one of some items which gained least."""
    sides = [_item_means(evidence, factor, level) for level in (plus, minus)]
    if not all(sides):
        return Found(reason=f"no arm of {plus} or of {minus}")
    high, low = (
        {item: sum(own[item] for own in side) / len(side) for item in side[0]} for side in sides
    )
    order = sorted(high, key=lambda item: low[item] - high[item])
    if not set(items) <= set(order):
        return Found(reason="the table lacks one of the items")
    return Found(max(order.index(item) + 1 for item in items))


def _item_means(evidence: Evidence, factor: str, level: str) -> list[dict[str, float]]:
    """Item -> mean over sessions, of each arm of this level."""
    own = evidence.sessions[evidence.sessions[FACTOR + factor] == level]
    columns = [name for name in own.columns if name.startswith(ITEM)]
    means = own.groupby("arm", observed=True)[columns].mean()
    return [
        {name.removeprefix(ITEM): float(row[name]) for name in columns}
        for _, row in means.iterrows()
    ]


COMPUTATIONS: dict[str, Computation] = {
    function.__name__: function
    for function in (published_contrast, mean_over_arms, item_below, gains)
}
