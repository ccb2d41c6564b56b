"""Analysis of variance of a complete table, one value a subject and condition: mean squares, and F
with its correction.

Source of epsilon: Greenhouse & Geisser 1959, Psychometrika 24:95-112.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

NO_VARIATION = 1e-12
ERROR_TERM = "subject x condition"


@dataclass(frozen=True)
class Anova:
    """F of conditions, of the subjects who have every condition."""

    subjects: int
    """Subjects who have every condition."""
    f: float | None = None
    df1: int | None = None
    df2: int | None = None
    p: float | None = None
    epsilon: float | None = None
    """How unlike each other differences vary (Greenhouse and Geisser); 1: alike."""
    p_corrected: float | None = None
    """With degrees of freedom times epsilon."""
    error_term: str | None = None
    reason: str | None = None
    """Why there is no F."""


def mean_squares(values: Array) -> tuple[float, float, float]:
    """Of subjects, conditions and what is left, of a complete table (subjects, conditions)."""
    import numpy as np

    n, k = values.shape
    rows, columns, grand = values.mean(axis=1), values.mean(axis=0), float(values.mean())
    rest = values - rows[:, None] - columns + grand
    left = float(np.square(rest).sum()) / ((n - 1) * (k - 1))
    return (
        k * float(np.square(rows - grand).sum()) / (n - 1),
        n * float(np.square(columns - grand).sum()) / (k - 1),
        left,
    )


def f_of(values: Array) -> Anova:
    """F of conditions in a complete table (subjects, conditions)."""
    import numpy as np
    from scipy.stats import f

    n, k = values.shape
    if n < 2:
        return Anova(n, reason=f"needs 2 subjects with every condition, found {n}")
    _, treatment, error = mean_squares(values)
    if error < NO_VARIATION:
        return Anova(n, reason="no residual variation among the complete subjects")
    centred = np.eye(k) - 1 / k
    spread = centred @ np.atleast_2d(np.cov(values, rowvar=False)) @ centred
    epsilon = float(np.trace(spread) ** 2 / ((k - 1) * np.square(spread).sum()))
    df1, df2, value = k - 1, (n - 1) * (k - 1), treatment / error
    p, corrected = (float(f.sf(value, df1 * share, df2 * share)) for share in (1, epsilon))
    return Anova(n, value, df1, df2, p, epsilon, corrected, ERROR_TERM)
