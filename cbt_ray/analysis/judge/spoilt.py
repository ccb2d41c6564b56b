"""Probes that a score must follow: an empty, shuffled or foreign therapist, homework taken out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cbt_ray.analysis.judge.mean import mean_over_chains
from cbt_ray.analysis.judge.measure import FIELDS, Measured, measured, must_move
from cbt_ray.analysis.judge.probe import Pair, ProbeRow, moved
from cbt_ray.analysis.settings import Settings
from cbt_ray.study.rater import Judge


def empty(
    pairs: Sequence[Pair], _rows: Sequence[ProbeRow], settings: Settings, judge: Judge
) -> Measured:
    """How much of the range a therapist who says nothing still gets.

    It must also be less than the session itself got.
    """
    level, limit = settings.level, judge.probes.empty_at_most
    reached = mean_over_chains([(pair.chain, pair.position(settings)[1]) for pair in pairs], level)
    fall = mean_over_chains([(pair.chain, pair.fall(settings)) for pair in pairs], level)
    start = mean_over_chains([(pair.chain, pair.position(settings)[0]) for pair in pairs], level)
    sure = reached.low is not None and reached.low > limit
    judged = must_move(
        fall,
        reached=reached.value <= limit and fall.value > 0,
        sure=sure,
        floor=start.value <= limit,
    )
    text = (
        f"A therapist who says nothing gets {reached.percent} of the scale's range, at most "
        f"{limit:.0%} was declared"
    )
    details = {
        "fall": fall.value,
        "fall_low": fall.low,
        "fall_high": fall.high,
        **moved(pairs, settings),
    }
    return measured("empty", limit, reached, judged, text, pairs, details)


def falls(name: str, what: str) -> Callable[..., Measured]:
    """The measure of a probe that must cost a share of the range.

    `what` it is, as its sentence begins.
    """

    def measure(
        pairs: Sequence[Pair], _rows: Sequence[ProbeRow], settings: Settings, judge: Judge
    ) -> Measured:
        """How much of the range is lost."""
        limit = float(getattr(judge.probes, FIELDS[name]))
        fall = mean_over_chains(
            [(pair.chain, pair.fall(settings)) for pair in pairs], settings.level
        )
        start = mean_over_chains(
            [(pair.chain, pair.position(settings)[0]) for pair in pairs], settings.level
        )
        sure = fall.high is not None and fall.high < limit
        judged = must_move(fall, reached=fall.value >= limit, sure=sure, floor=start.value < limit)
        text = (
            f"{what} costs {fall.percent} of the scale's range, at least {limit:.0%} was declared"
        )
        return measured(name, limit, fall, judged, text, pairs, moved(pairs, settings))

    return measure


def homework(
    pairs: Sequence[Pair], _rows: Sequence[ProbeRow], settings: Settings, judge: Judge
) -> Measured:
    """Points by which the homework item falls more than the other items do on average."""
    item, limit = judge.probes.homework_item, judge.probes.homework_margin
    known = [pair for pair in pairs if item in pair.base and len(pair.base) > 1]
    if not known:
        return Measured(
            "no_homework",
            limit,
            judged=("not_probed", "no_such_item"),
            text=f"The scale has no item {item}",
        )
    own = mean_over_chains([(pair.chain, pair.item_fall(item)) for pair in known], settings.level)
    others = mean_over_chains(
        [(pair.chain, pair.others_fall(item)) for pair in known], settings.level
    )
    margin = mean_over_chains(
        [(pair.chain, pair.item_fall(item) - pair.others_fall(item)) for pair in known],
        settings.level,
    )
    start = mean_over_chains(
        [(pair.chain, pair.base[item] - settings.lowest) for pair in known], settings.level
    )
    sure = margin.high is not None and margin.high < limit
    judged = must_move(margin, reached=margin.value >= limit, sure=sure, floor=start.value < limit)
    text = (
        f"Without its homework a session loses {margin.number} points more on {item} than on "
        f"the others, {limit:g} were declared"
    )
    at_floor = sum(pair.base[item] <= settings.lowest for pair in known)
    details = {
        "item": item,
        "item_fall": own.value,
        "others_fall": others.value,
        "at_floor": at_floor,
        **moved(known, settings),
    }
    return measured("no_homework", limit, margin, judged, text, known, details)
