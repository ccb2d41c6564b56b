"""Probes that a score must not follow: style, the other items beside one, the kind of therapist."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cbt_ray.analysis.effect.asked import sides
from cbt_ray.analysis.judge.mean import (
    NO_VARIATION,
    Mean,
    difference,
    mean_over_chains,
    ratio,
    wilson,
)
from cbt_ray.analysis.judge.measure import Measured, measured, must_stay
from cbt_ray.analysis.judge.probe import Pair, ProbeRow, moved
from cbt_ray.analysis.settings import Settings
from cbt_ray.study.rater import Judge

FEW_FOR_CORRELATION = 5


def masked(
    pairs: Sequence[Pair], _rows: Sequence[ProbeRow], settings: Settings, judge: Judge
) -> Measured:
    """By how much masking style moves one side of the first contrast against the other, as a share
    of the range.
    """
    limit, sign = (
        judge.probes.masked_shift,
        -1 if settings.view == "plain" else 1,
    )  # a change is always masked minus plain
    names = sides(settings.contrasts[0]) if settings.contrasts else ("", "")
    changes = [
        [(pair.chain, sign * pair.fall(settings)) for pair in pairs if pair.side == side]
        for side in ("plus", "minus")
    ]
    by_side = {
        name: mean_over_chains(found, settings.level).value if found else None
        for name, found in zip(names, changes, strict=True)
        if name
    }
    details = {"change": by_side, **moved(pairs, settings)}
    if not all(changes):
        judged: tuple[str, str | None] = ("not_probed", "one_kind")
        return Measured(
            "masked", limit, judged=judged, text="There is one kind of therapist", details=details
        )
    shift = difference(changes[0], changes[1], settings.level)
    within = (
        shift.low is not None
        and shift.high is not None
        and -limit <= shift.low
        and shift.high <= limit
    )
    shown = shift.low is not None and shift.high is not None and (shift.low > 0 or shift.high < 0)
    judged = must_stay(abs(shift.value) <= limit, within=within, shown=shown, reason=shift.reason)
    text = (
        f"Masking style moves {names[0]} against {names[1]} by {shift.percent} "
        "of the scale's range, "
        f"at most {limit:.0%} was declared"
    )
    return measured("masked", limit, shift, judged, text, pairs, details)


def halo(
    pairs: Sequence[Pair], _rows: Sequence[ProbeRow], settings: Settings, judge: Judge
) -> Measured:
    """How far apart the items of a session lie when they are rated together, as a share of what
    they do when rated separately.

    The study rates one way, as `judge.items` says, and the probe the other.
    """
    limit, together = judge.probes.halo_spread, judge.items == "together"
    spreads = [(pair.chain, _spread(pair.base), _spread(pair.probed)) for pair in pairs]
    ordered = [
        (chain, one, other) if together else (chain, other, one) for chain, one, other in spreads
    ]
    found = ratio(ordered, settings.level)
    joint = mean_over_chains(
        [(chain, spread) for chain, spread, _ in ordered], settings.level
    ).value
    apart = mean_over_chains(
        [(chain, spread) for chain, _, spread in ordered], settings.level
    ).value
    sides = [[pair.base for pair in pairs], [pair.probed for pair in pairs]]
    correlations = [_correlation(side) for side in (sides if together else sides[::-1])]
    details = {
        "spread_together": joint,
        "spread_separately": apart,
        "correlation_together": correlations[0],
        "correlation_separately": correlations[1],
        **moved(pairs, settings),
    }
    if found is None:
        alike = joint <= NO_VARIATION
        judged: tuple[str, str | None] = ("failed", "alike") if alike else ("passed", None)
        text = "All items of a session get the same score" + (
            "" if alike else " when rated separately, and not together"
        )
        return measured(
            "halo",
            limit,
            Mean(0.0 if alike else 1.0, None, None, "no_spread"),
            judged,
            text,
            pairs,
            details,
        )
    within = found.low is not None and found.low >= limit
    shown = found.high is not None and found.high < 1
    judged = must_stay(found.value >= limit, within=within, shown=shown, reason=found.reason)
    text = (
        f"Items rated together spread {found.number} times as far as separately, at least "
        f"{limit:g} was declared"
    )
    return measured("halo", limit, found, judged, text, pairs, details)


def guess(
    _pairs: Sequence[Pair], rows: Sequence[ProbeRow], settings: Settings, judge: Judge
) -> Measured:
    """How often the judge guesses the kind of therapist; chance is the best constant guess."""
    from scipy.stats import binomtest

    name, limit, count = rows[0].probe, judge.probes.guess_excess, len(rows)
    kinds = sorted({row.kind for row in rows})
    hits = sum(row.guess == row.kind for row in rows)
    by_kind = {kind: [row.guess == kind for row in rows if row.kind == kind] for kind in kinds}
    chance = max(len(found) for found in by_kind.values()) / count
    low, high = wilson(hits, count, settings.level)
    details = {
        "hits": hits,
        "chance": chance,
        "p": float(binomtest(hits, count, chance, alternative="greater").pvalue)
        if chance < 1
        else None,
        "right": {kind: sum(found) / len(found) for kind, found in by_kind.items()},
        "guessed": {
            kind: sum(row.guess == kind for row in rows)
            for kind in sorted({str(row.guess) for row in rows})
        },
    }
    accuracy = Mean(hits / count, low, high)
    judged = must_stay(
        accuracy.value <= chance + limit,
        within=high <= chance + limit,
        shown=low > chance,
        reason=None,
    )
    if len(kinds) < 2:
        judged = ("undecided", "one_kind")
    text = (
        f"{hits} of {count} kinds guessed ({accuracy.percent}), chance is {chance:.0%} and at "
        f"most {limit:.0%} more was declared"
    )
    chains = len({row.chain for row in rows})
    return Measured(name, limit, accuracy.value, low, high, None, judged, text, chains, details)


def _spread(items: Mapping[str, float]) -> float:
    """Standard deviation of a session's items, points."""
    values = list(items.values())
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def _correlation(sessions: Sequence[Mapping[str, float]]) -> float | None:
    """Mean correlation over sessions between items that vary.

    None below five sessions or two such items.
    """
    import numpy as np

    if len(sessions) < FEW_FOR_CORRELATION:
        return None
    table = np.array([list(items.values()) for items in sessions])
    table = table[:, table.std(axis=0) > NO_VARIATION]
    if table.shape[1] < 2:
        return None
    matrix = np.corrcoef(table, rowvar=False)
    return float(matrix[np.triu_indices_from(matrix, k=1)].mean())
