"""An interval by t, with the test that it inverts."""

from __future__ import annotations

from dataclasses import dataclass

from cbt_ray.analysis.document import Keyed


@dataclass(frozen=True)
class Interval(Keyed):
    """Of an estimate, at a level that is given elsewhere."""

    se: float
    df: float
    t: float
    p: float
    low: float
    high: float


def around(estimate: float, se: float, df: float, law: tuple[float, float]) -> Interval:
    """The interval by a critical t, with the p that goes along with it."""
    critical, p = law
    return Interval(se, df, estimate / se, p, estimate - critical * se, estimate + critical * se)


def by_t(estimate: float, se: float, df: int, level: float) -> Interval:
    """The interval by Student's t."""
    from scipy.special import stdtr, stdtrit

    critical = float(stdtrit(df, 0.5 + level / 2))
    return around(estimate, se, df, (critical, 2 * float(stdtr(df, -abs(estimate / se)))))
