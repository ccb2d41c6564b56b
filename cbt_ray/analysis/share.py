"""Shares and counts with intervals that fit them: never beyond their ends, and never of no width
where nobody, or everybody, did it.

Patients are the clusters. A share's interval is that of Clopper and Pearson for as many trials as
would make it vary between patients as it does (Korn & Graubard 1998, Survey Methodology
24:193-201), but no fewer than there are patients. A count's is Garwood's (1936, Biometrika
28:437-442) for as many events; where all patients have the same, for those that were counted. How
much it varies is known the less the fewer patients it comes from: degrees of freedom are those of
the patients that it comes from (Kish 1965), less one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.estimate import Estimate, Span

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SLACK = 1e-9
"""By so much of its whole a part may be off, as computed."""
NO_VARIATION = 1e-12
"""A variance, or degrees of freedom, below which there are none."""


def share(
    parts: Sequence[float] | Array,
    wholes: Sequence[float] | Array,
    level: float,
    trials: float | None = None,
    beside: float = 0.0,
) -> Estimate:
    """The sum of all patients' parts over that of their wholes, of which each is a part.

    `trials`: of how many answers of yes or no it is made, one of each patient at least; none: it
    can lie anywhere in between. A patient whose whole is 0 says nothing. `beside`: what others than
    patients add to the square of half the interval's width.
    """
    import numpy as np
    from scipy.special import betaincinv, ndtri

    part, whole = np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)
    part, whole = part[whole > 0], whole[whole > 0]
    if len(whole) < 2:
        value = float(part[0] / whole[0]) if len(whole) else None
        return Estimate(value, reason=f"needs 2 patients, found {len(whole)}")
    if (part < -SLACK * whole).any() or (part - whole > SLACK * whole).any():
        return Estimate(None, reason="a part is less than none or more than its whole")
    part = np.clip(part, 0.0, whole)
    value, patients = float(part.sum() / whole.sum()), sources(whole)
    variance = _variance(part - value * whole) / float(whole.sum()) ** 2
    size = patients
    if variance > NO_VARIATION:
        of_one = value * (1 - value) * (1.0 if trials is None else trials / (trials - 1))
        known = min(sources(part), sources(whole - part))
        size = max(size, of_one / variance * _shrunk(level, known, trials))
    size = size if trials is None else min(size, trials)
    if beside > NO_VARIATION:
        size = 1 / (1 / size + beside / (value * (1 - value) * ndtri((1 - level) / 2) ** 2))
    yes, no, tail = size * value, size * (1 - value), (1 - level) / 2
    low = float(betaincinv(yes, no + 1, tail)) if yes > 0 else 0.0
    high = float(betaincinv(yes + 1, no, 1 - tail)) if no > 0 else 1.0
    return Estimate(value, low, high)


def count(values: Sequence[float] | Array, level: float, beside: float = 0.0) -> Estimate:
    """The mean of what was counted of each patient, which has no upper end; `beside` as above."""
    import numpy as np
    from scipy.special import gammaincinv, ndtri

    counts = np.asarray(values, dtype=float)
    value = float(counts.mean()) if len(counts) else None
    if value is None or len(counts) < 2:
        return Estimate(value, reason=f"needs 2 patients, found {len(counts)}")
    if (counts < 0).any():
        return Estimate(value, reason="a count is less than none")
    variance, events = _variance(counts - value) / len(counts) ** 2, float(counts.sum())
    if variance > NO_VARIATION:
        known = sources(counts)
        events = max(known, value**2 / variance * _shrunk(level, known, None))
    if beside > NO_VARIATION:
        events = 1 / (1 / events + beside / (value * ndtri((1 - level) / 2)) ** 2)
    one, tail = value / events if events else 1 / len(counts), (1 - level) / 2
    low = float(gammaincinv(events, tail)) * one if events else 0.0
    return Estimate(value, low, float(gammaincinv(events + 1, 1 - tail)) * one)


def correlation(first: Array, second: Array, trials: float | None = None) -> float:
    """Of what the same patients have in two arms; 0 where either does not vary.

    `trials`: answers, or sessions, of an arm. One of them might be otherwise, so a correlation
    above 0 loses half of one as in Newcombe 1998 (Statistics in Medicine 17:2635-2650, method 10);
    none: what is compared takes any value.
    """
    import numpy as np

    together = float(np.mean((first - first.mean()) * (second - second.mean())))
    if trials is not None and together > 0:
        together = max(0.0, together - 0.5 / trials)
    apart = float(first.std() * second.std())
    return together / apart if apart > NO_VARIATION else 0.0


def difference(first: Estimate, second: Estimate, correlated: float) -> Span:
    """The interval of first - second from both intervals (square and add, MOVER: Zou & Donner 2008,
    Statistics in Medicine 27:1693-1702).

    Raises ValueError where either has none.
    """
    one, low, high = _known(first)
    other, least, most = _known(second)

    def off(first: float, second: float) -> float:
        return math.sqrt(max(0.0, first**2 - 2 * correlated * first * second + second**2))

    between = one - other
    return Span(between - off(one - low, most - other), between + off(high - one, other - least))


def widened(value: float, own: Span, with_seeds: Span, these: Span, most: float) -> Span:
    """A difference's interval with what training seeds add in squares, within -most and most.

    `own`: that of these seeds, with the correlation of both sides. `with_seeds` and `these`: with
    and without what seeds add, both without a correlation.
    """
    below, above = (
        math.sqrt(max(0.0, (one - value) ** 2 + (every - value) ** 2 - (alone - value) ** 2))
        for one, every, alone in (
            (own.low, with_seeds.low, these.low),
            (own.high, with_seeds.high, these.high),
        )
    )
    return Span(max(-most, value - below), min(most, value + above))


def mcnemar(first: int, second: int) -> float:
    """Exact p, two-sided, of pairs of which only the first, or only the second, is a yes."""
    from scipy.special import bdtr

    pairs = first + second
    return min(1.0, 2 * float(bdtr(min(first, second), pairs, 0.5))) if pairs else 1.0


def _known(found: Estimate) -> tuple[float, float, float]:
    if found.value is None or found.low is None or found.high is None:
        raise ValueError(f"expected an interval: {found.reason}")
    return found.value, found.low, found.high


def sources(values: Array) -> float:
    """How many patients a sum comes from: of so many equal values would it be no less even (Kish
    1965); 0 of a sum of 0.
    """
    import numpy as np

    squares = float(np.square(values).sum())
    return float(values.sum()) ** 2 / squares if squares > 0 else 0.0


def _variance(rest: Array) -> float:
    """Of the sum of what patients add to nothing."""
    import numpy as np

    return float(np.square(rest).sum()) * len(rest) / (len(rest) - 1)


def _shrunk(level: float, patients: float, trials: float | None) -> float:
    """What a size keeps since patients, and not trials, say how much it varies: squared t of all
    trials over squared t of so many patients.
    """
    from scipy.special import ndtri, stdtrit

    point = 0.5 + level / 2
    if patients - 1 < NO_VARIATION:
        return 0.0
    of_trials = ndtri(point) if trials is None else stdtrit(trials - 1, point)
    return float(of_trials / stdtrit(patients - 1, point)) ** 2
