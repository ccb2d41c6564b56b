"""What the analysis says of a mixed model, fitted or not."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cbt_ray.analysis.document import Keyed
from cbt_ray.analysis.model.ladder import Optimisation

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

POINTS = 600
"""Points of either plot, thinned evenly so that a report stays small."""


@dataclass(frozen=True, kw_only=True)
class Residuals(Keyed):
    """What a fitted model leaves over, standardized; empty where none is fitted."""

    qq: Sequence[tuple[float, float]] = ()
    """Normal quantiles (Blom's positions) and residuals."""
    residuals: Sequence[tuple[float, float]] = ()
    """Fitted values and residuals."""
    residuals_shown: tuple[int, int] = (0, 0)
    """Points shown, of so many."""


@dataclass(frozen=True, kw_only=True)
class MixedModel(Residuals):
    """A mixed model of all sessions; what only a fitted one has is null or empty elsewhere."""

    name: str
    formula: str
    method: str
    status: Literal["fitted", "not_fitted"] = "not_fitted"
    reason: str | None = None
    n: int | None = None
    """Sessions."""
    reference: Mapping[str, str] = field(default_factory=dict)
    """Factor -> the level that its terms are taken from."""
    log_likelihood: float | None = None
    ladder: Sequence[Optimisation] = ()
    spread: float | None = None
    """Between the log-likelihoods of optimisers that say they converged."""
    problems: Sequence[str] = ()


def residuals(fitted: Array, resid: Array, scale: float) -> Residuals:
    """Both plots of what is left over."""
    import numpy as np

    n = len(resid)
    standard = np.asarray(resid) / scale**0.5
    ordered = np.sort(standard)
    normal = statistics.NormalDist()
    keep = np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(int)).tolist()
    return Residuals(
        qq=[(normal.inv_cdf((i + 1 - 0.375) / (n + 0.25)), float(ordered[i])) for i in keep],
        residuals=[(float(fitted[i]), float(standard[i])) for i in keep],
        residuals_shown=(len(keep), n),
    )
