"""Two conditions within the same subjects: z and t of their difference, win rates, and adjustment
over all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.calibration import HOLDS

if TYPE_CHECKING:
    import numpy as np

    from cbt_ray.analysis.model.nested import Fit

    Array = np.ndarray[Any, np.dtype[Any]]

SAME = 1e-9
"""Values closer than this are a tie: means of items are not exact in binary."""


def coverage_by_z(df: int) -> tuple[float, str | None]:
    """What a 95 % interval by z covers where the variance has `df` degrees of freedom, and why it
    is withheld if too little.
    """
    from scipy.special import ndtri, stdtr

    covers = 1 - 2 * float(stdtr(df, -ndtri(0.975)))
    low = f"withheld: a 95 % interval by z covers {covers:.1%} with {df} degrees of freedom"
    return covers, low if covers < HOLDS[0] else None


def wald(fit: Fit, a: int, b: int, df: int, level: float, pairs: int) -> dict[str, Any]:
    """Test a pair by z from a mixed model, which takes its variances as known.

    `df` are those that they truly have.

    `simultaneous` is Sidak's interval over all pairs. Intervals that would not hold their level are
    withheld.
    """
    from scipy.special import ndtr, ndtri

    estimate = float(fit.estimates[a] - fit.estimates[b])
    se = float((fit.covariance[a, a] + fit.covariance[b, b] - 2 * fit.covariance[a, b]) ** 0.5)
    covers, why = coverage_by_z(df)
    row = {
        "se": se,
        "z": estimate / se,
        "p": 2 * float(ndtr(-abs(estimate / se))),
        "covers": covers,
        "reason": why,
    }
    if why:
        return row | dict.fromkeys(("low", "high", "simultaneous"))
    half, wide = (float(ndtri(0.5 + share / 2)) * se for share in (level, sidak(level, pairs)))
    return row | {
        "low": estimate - half,
        "high": estimate + half,
        "simultaneous": [estimate - wide, estimate + wide],
    }


def paired(difference: Array, level: float, pairs: int) -> dict[str, Any]:
    """Test (n,) differences by t, on nothing but these two conditions.

    D_z is the mean difference over its own spread.
    """
    from scipy.special import stdtr, stdtrit

    n = len(difference)
    empty = dict.fromkeys(("se", "df", "t", "p", "low", "high", "simultaneous", "d_z"))
    if n < 2:
        return empty | {"reason": f"needs 2 subjects with both conditions, found {n}"}
    estimate, deviation = float(difference.mean()), float(difference.std(ddof=1))
    if deviation < SAME:
        return empty | {
            "reason": "all subjects differ alike: there is no variation to test against"
        }
    se, df = deviation / n**0.5, n - 1
    half, wide = (
        float(stdtrit(df, 0.5 + share / 2)) * se for share in (level, sidak(level, pairs))
    )
    return {
        **{"se": se, "df": df, "t": estimate / se, "p": 2 * float(stdtr(df, -abs(estimate / se)))},
        **{
            "low": estimate - half,
            "high": estimate + half,
            "simultaneous": [estimate - wide, estimate + wide],
        },
        **{"d_z": estimate / deviation, "reason": None},
    }


def wins(difference: Array, level: float) -> dict[str, Any]:
    """How often the first of two conditions is the better one in a subject: a tie is half a win.

    `strict` counts a tie as no win, as the published code does. p is the exact sign test without
    ties.
    """
    import numpy as np
    from scipy.stats import binomtest

    n, won = len(difference), int((difference > SAME).sum())
    lost = int((difference < -SAME).sum())
    tied = n - won - lost
    counts = {"wins": won, "losses": lost, "ties": tied}
    if n == 0:
        return counts | dict.fromkeys(("rate", "low", "high", "strict", "p"))
    low, high = wilson((won + tied / 2) / n, n, level)
    strict = wilson(won / n, n, level)
    return {
        **counts,
        **{"rate": (won + tied / 2) / n, "low": low, "high": high},
        "strict": {"rate": won / n, "low": strict[0], "high": strict[1]},
        "p": float(binomtest(won, won + lost).pvalue) if won + lost else None,
        "median_difference": float(np.median(difference)),
    }


def wilson(share: float, n: int, level: float) -> tuple[float, float]:
    """Interval of a share of n (Wilson 1927); unlike scipy's it takes half wins."""
    from scipy.special import ndtri

    z = float(ndtri(0.5 + level / 2))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def sidak(level: float, tests: int) -> float:
    """The level of each of several intervals that hold `level` together (Sidak 1967)."""
    return float(level ** (1 / max(1, tests)))


def holm_sidak(p_values: Sequence[float]) -> list[float]:
    """Step-down adjusted p-values (Holm 1979 with Sidak's inequality), in the given order."""
    import math

    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        p = p_values[index]
        # 1 - (1 - p)^m, without losing a p of 1e-20 to rounding
        running = max(
            running, 1.0 if p >= 1.0 else -math.expm1((len(p_values) - rank) * math.log1p(-p))
        )
        adjusted[index] = running
    return adjusted
