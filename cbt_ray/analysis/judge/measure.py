"""What each probe measures, and its verdict: first what a score must follow (an empty, shuffled or
foreign therapist, homework taken out), then what it must not (style, the other items beside one,
the kind of therapist).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cbt_ray.analysis.effect.asked import sides
from cbt_ray.analysis.judge.mean import (
    NO_VARIATION,
    Mean,
    difference,
    mean_over_chains,
    ratio,
    wilson,
)
from cbt_ray.analysis.judge.probe import (
    FAILED,
    PASSED,
    UNDECIDED,
    Compared,
    EmptyFall,
    Guesses,
    HomeworkFall,
    Judged,
    Measured,
    ProbeRow,
    SideChanges,
    Spreads,
    moved,
    must_move,
    must_stay,
    threshold_of,
    unmeasured,
)
from cbt_ray.analysis.settings import Settings
from cbt_ray.count import many
from cbt_ray.study.rater import Judge

FEW_FOR_CORRELATION = 5
Comparison = Sequence[Compared]
"""At least one session."""


def _over(of: Callable[[Compared], float], compared: Comparison, settings: Settings) -> Mean:
    return mean_over_chains([(one.chain, of(one)) for one in compared], settings.level)


def _shown(found: Measured, mean: Mean, compared: Comparison, settings: Settings) -> Measured:
    """With what every comparison with ordinary ratings shows."""
    chains = len({one.chain for one in compared})
    return replace(found, estimate=mean, chains=chains, moved=moved(compared, settings))


def empty(compared: Comparison, settings: Settings, judge: Judge) -> Measured:
    """How much of the range a therapist who says nothing still gets.

    It must also be less than the session itself got.
    """
    limit = judge.probes.empty_at_most
    reached = _over(lambda one: one.position(settings)[1], compared, settings)
    fall = _over(lambda one: one.fall(settings), compared, settings)
    start = _over(lambda one: one.position(settings)[0], compared, settings)
    judged = must_move(
        fall,
        reached=reached.value <= limit and fall.value > 0,
        sure=reached.low is not None and reached.low > limit,
        floor=start.value <= limit,
    )
    text = (
        f"A therapist who says nothing gets {reached.percent} of the scale's range, at most "
        f"{limit:.0%} was declared"
    )
    found = replace(unmeasured("empty", judge, judged, text), details=EmptyFall(fall))
    return _shown(found, reached, compared, settings)


def falls(name: str, what: str) -> Callable[[Comparison, Settings, Judge], Measured]:
    """The measure of a probe that must cost a share of the range.

    `what` it is, as its sentence begins.
    """

    def measure(compared: Comparison, settings: Settings, judge: Judge) -> Measured:
        """How much of the range is lost."""
        limit = threshold_of(name, judge).value
        fall = _over(lambda one: one.fall(settings), compared, settings)
        start = _over(lambda one: one.position(settings)[0], compared, settings)
        sure = fall.high is not None and fall.high < limit
        judged = must_move(fall, reached=fall.value >= limit, sure=sure, floor=start.value < limit)
        text = (
            f"{what} costs {fall.percent} of the scale's range, at least {limit:.0%} was declared"
        )
        return _shown(unmeasured(name, judge, judged, text), fall, compared, settings)

    return measure


def homework(compared: Comparison, settings: Settings, judge: Judge) -> Measured:
    """Points by which the homework item falls more than the other items do on average."""
    item, limit = judge.probes.homework_item, judge.probes.homework_margin
    known = [one for one in compared if item in one.base and len(one.base) > 1]
    if not known:
        why, text = Judged(reason="no_such_item"), f"The scale has no item {item}"
        return unmeasured("no_homework", judge, why, text)
    margin = _over(lambda one: one.item_fall(item) - one.others_fall(item), known, settings)
    start = _over(lambda one: one.base[item] - settings.lowest, known, settings)
    sure = margin.high is not None and margin.high < limit
    judged = must_move(margin, reached=margin.value >= limit, sure=sure, floor=start.value < limit)
    text = (
        f"Without its homework a session loses {margin.number} points more on {item} than on "
        f"the others, {limit:g} were declared"
    )
    details = HomeworkFall(
        item,
        _over(lambda one: one.item_fall(item), known, settings).value,
        _over(lambda one: one.others_fall(item), known, settings).value,
        at_floor=sum(one.base[item] <= settings.lowest for one in known),
    )
    found = replace(unmeasured("no_homework", judge, judged, text), details=details)
    return _shown(found, margin, known, settings)


def masked(compared: Comparison, settings: Settings, judge: Judge) -> Measured:
    """By how much masking style moves one side of the first contrast against the other, as a share
    of the range.
    """
    limit = judge.probes.masked_shift
    sign = -1 if settings.view == "plain" else 1  # a change is always masked minus plain
    names = sides(settings.contrasts[0]) if settings.contrasts else ("", "")
    one, other = (
        [(pair.chain, sign * pair.fall(settings)) for pair in compared if pair.side == side]
        for side in ("plus", "minus")
    )
    details = SideChanges(
        {
            name: mean_over_chains(own, settings.level).value if own else None
            for name, own in zip(names, (one, other), strict=True)
            if name
        }
    )
    if not (one and other):
        why, text = Judged(reason="one_kind"), "There is one kind of therapist"
        none = unmeasured("masked", judge, why, text)
        return replace(none, details=details, moved=moved(compared, settings))
    shift = difference(one, other, settings.level)
    known = shift.low is not None and shift.high is not None
    low, high = shift.low or 0.0, shift.high or 0.0
    judged = must_stay(
        abs(shift.value) <= limit,
        within=known and -limit <= low and high <= limit,
        shown=known and (low > 0 or high < 0),
        reason=shift.reason,
    )
    text = (
        f"Masking style moves {names[0]} against {names[1]} by {shift.percent} of the scale's "
        f"range, at most {limit:.0%} was declared"
    )
    found = replace(unmeasured("masked", judge, judged, text), details=details)
    return _shown(found, shift, compared, settings)


def halo(compared: Comparison, settings: Settings, judge: Judge) -> Measured:
    """How far apart the items of a session lie when they are rated together, as a share of what
    they do when rated separately.

    The study rates one way, as `judge.items` says, and the probe the other.
    """
    limit, sides_ = judge.probes.halo_spread, [(one.base, one.probed) for one in compared]
    if judge.items != "together":
        sides_ = [(probed, base) for base, probed in sides_]
    spreads = [
        (one.chain, _spread(joint), _spread(apart))
        for one, (joint, apart) in zip(compared, sides_, strict=True)
    ]
    details = Spreads(
        mean_over_chains([(chain, joint) for chain, joint, _ in spreads], settings.level).value,
        mean_over_chains([(chain, apart) for chain, _, apart in spreads], settings.level).value,
        _correlation([joint for joint, _ in sides_]),
        _correlation([apart for _, apart in sides_]),
    )
    mean = ratio(spreads, settings.level)
    if mean is None:
        mean, judged, text = _no_spread(details.spread_together)
    else:
        judged = must_stay(
            mean.value >= limit,
            within=mean.low is not None and mean.low >= limit,
            shown=mean.high is not None and mean.high < 1,
            reason=mean.reason,
        )
        text = (
            f"Items rated together spread {mean.number} times as far as separately, at least "
            f"{limit:g} was declared"
        )
    found = replace(unmeasured("halo", judge, judged, text), details=details)
    return _shown(found, mean, compared, settings)


def _no_spread(together: float) -> tuple[Mean, Judged, str]:
    """Where items that are rated separately all get one score."""
    text = "All items of a session get the same score"
    if together <= NO_VARIATION:
        return Mean(0.0, reason="no_spread"), Judged(FAILED, "alike"), text
    text += " when rated separately, and not together"
    return Mean(1.0, reason="no_spread"), Judged(PASSED), text


def guess(rows: Sequence[ProbeRow], settings: Settings, judge: Judge) -> Measured:
    """How often the judge guesses the kind of therapist; chance is the best constant guess."""
    from scipy.stats import binomtest

    name, limit, count = rows[0].probe, judge.probes.guess_excess, len(rows)
    kinds = sorted({row.kind for row in rows})
    hits = sum(row.guess == row.kind for row in rows)
    by_kind = {kind: [row.guess == kind for row in rows if row.kind == kind] for kind in kinds}
    chance = max(len(found) for found in by_kind.values()) / count
    beyond = binomtest(hits, count, chance, alternative="greater") if chance < 1 else None
    said = [str(row.guess) for row in rows]
    details = Guesses(
        hits,
        chance,
        float(beyond.pvalue) if beyond else None,
        {kind: sum(found) / len(found) for kind, found in by_kind.items()},
        {kind: said.count(kind) for kind in sorted(set(said))},
    )
    low, high = wilson(hits, count, settings.level)
    mean, most = Mean(hits / count, low, high), chance + limit
    judged = must_stay(mean.value <= most, within=high <= most, shown=low > chance, reason=None)
    if len(kinds) < 2:
        judged = Judged(UNDECIDED, "one_kind")
    text = (
        f"{hits} of {many(count, 'kind')} guessed ({mean.percent}), chance is {chance:.0%} and at "
        f"most {limit:.0%} more was declared"
    )
    found, chains = unmeasured(name, judge, judged, text), len({row.chain for row in rows})
    return replace(found, estimate=mean, chains=chains, details=details)


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


COMPARISONS: Mapping[str, Callable[[Comparison, Settings, Judge], Measured]] = {
    "empty": empty,
    "shuffled": falls("shuffled", "Random order of the therapist's turns"),
    "swapped": falls("swapped", "Another patient's therapist"),
    "no_homework": homework,
    "masked": masked,
    "halo": halo,
}
"""Probe -> its measure; the others are guesses."""
