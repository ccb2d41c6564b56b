"""What probes of a judge show: changes, intervals, verdicts by two rules, and what stands at the
top of the report.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from cbt_ray.analysis.document import from_json, to_json
from cbt_ray.analysis.judge.mean import difference, mean_over_chains, ratio, wilson
from cbt_ray.analysis.judge.probe import ArmMoved, Judged, Measured, ProbeRow
from cbt_ray.analysis.judge.robustness import Robustness, robustness
from cbt_ray.analysis.scores import ScoreRow, Scores
from cbt_ray.analysis.settings import Settings
from cbt_ray.study.rater import Judge

pytestmark = pytest.mark.slow

ITEMS = ("agenda", "pacing", "homework")
SETTINGS = Settings(items=ITEMS)
RANGE = 9 * len(ITEMS)
Rate = Callable[[int, str, str], Sequence[int | None]]
"""(session, variant, probe; "" is the ordinary rating) -> the items' scores."""


def facts(number: int, variant: str) -> dict[str, Any]:
    place = {"patient": f"p{number}", "replicate": 1, "session": 1}
    return {
        "session_key": f"{variant}-{number}",
        "arm": variant,
        **place,
    }


def result(
    rate: Rate,
    which: Sequence[str],
    count: int = 8,
    *,
    guess: Callable[[int, str], str] | None = None,
    reasons: dict[int, str] | None = None,
    views: Sequence[str] = ("plain",),
    settings: Settings = SETTINGS,
    **judge: Any,
) -> Robustness:
    """The section for `count` sessions of each of two arms, a chain each."""
    rows, scored = [], []
    for variant in ("instruct", "tuned"):
        for number in range(count):
            for view in views:
                found = rate(number, variant, "" if view == "plain" else view)
                items = dict(zip(ITEMS, found, strict=True))
                total = (
                    None if None in found else sum(score for score in found if score is not None)
                )
                scored.append(
                    ScoreRow(
                        **facts(number, variant),
                        factors={"variant": variant},
                        phase="all",
                        view=view,
                        judge_replicate=1,
                        rated=True,
                        reason=None,
                        items=items,
                        total=total,
                    )
                )
            for name in which:
                reason = (reasons or {}).get(number)
                if name.startswith("guess") and guess is not None:
                    rows.append(
                        ProbeRow(
                            **facts(number, variant),
                            kind=variant,
                            probe=name,
                            guess=guess(number, variant),
                        )
                    )
                else:
                    items = (
                        {} if reason else dict(zip(ITEMS, rate(number, variant, name), strict=True))
                    )
                    rows.append(
                        ProbeRow(
                            **facts(number, variant),
                            kind=variant,
                            probe=name,
                            reason=reason,
                            items=items,
                        )
                    )
    return robustness(rows, Scores.of(scored), settings, Judge(endpoint="script", **judge))


def verdict(rate: Rate, name: str, count: int = 8, **more: Any) -> tuple[str, str | None]:
    row = result(rate, [name], count, **more).probes[name]
    return row.verdict, row.reason


# ---- means and intervals -------------------------------------------------------------------------


def test_mean_over_chains_is_the_t_interval_of_their_means() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.3, 0.2, 9)
    found = mean_over_chains([(str(n), float(value)) for n, value in enumerate(values)], 0.9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.value, found.low, found.high) == pytest.approx(
        (values.mean(), expected.low, expected.high)
    )


def test_chain_counts_once_however_many_of_its_sessions_were_probed() -> None:
    one = [("a", 0.1), ("b", 0.3), ("c", 0.5)]
    more, fewer = (
        mean_over_chains([*one, ("a", 0.1), ("a", 0.1)], 0.95),
        mean_over_chains(one, 0.95),
    )
    assert (more.value, more.low, more.high) == pytest.approx((fewer.value, fewer.low, fewer.high))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([("a", 0.1), ("a", 0.3)], "one_chain"),
        ([("a", 0.1), ("b", 0.1)], "no_variation"),
        ([("a", 0.1), ("b", 0.2)], None),
    ],
)
def test_mean_says_why_it_has_no_interval(
    values: list[tuple[str, float]], reason: str | None
) -> None:
    found = mean_over_chains(values, 0.95)
    assert (found.reason, found.low is None) == (reason, reason is not None)


def test_difference_is_welchs() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(0.3, 0.2, 9), rng.normal(0.1, 0.05, 6)
    found = difference(
        [(str(n), float(v)) for n, v in enumerate(one)],
        [(str(n), float(v)) for n, v in enumerate(other)],
        0.95,
    )
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx(
        (one.mean() - other.mean(), expected.low, expected.high)
    )


def test_ratio_holds_the_values_at_which_a_t_test_does_not_reject() -> None:
    """Fieller's interval is defined so; both its ends are found by another way here."""
    rng = np.random.default_rng(3)
    below = rng.normal(2, 0.4, 12)
    above = 0.6 * below + rng.normal(0, 0.3, 12)
    found = ratio(
        [(str(n), float(a), float(b)) for n, (a, b) in enumerate(zip(above, below, strict=True))],
        0.95,
    )
    assert found is not None
    assert found.value == pytest.approx(above.mean() / below.mean())
    for end in (found.low, found.high):
        assert end is not None
        assert stats.ttest_1samp(above - end * below, 0).pvalue == pytest.approx(0.05)


def test_ratio_to_nothing_is_none_and_to_nearly_nothing_unbounded() -> None:
    assert ratio([("a", 1.0, 0.0), ("b", 2.0, 0.0)], 0.95) is None
    found = ratio([("a", 1.0, 3.0), ("b", 2.0, -2.0), ("c", 1.0, 0.1)], 0.95)
    assert found is not None
    assert (found.low, found.reason) == (None, "unbounded")


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (5, 5), (3, 7), (31, 60)])
def test_wilson_is_that_of_statsmodels(hits: int, count: int) -> None:
    assert wilson(hits, count, 0.95) == pytest.approx(
        proportion_confint(hits, count, 0.05, "wilson")
    )


# ---- what must move ------------------------------------------------------------------------------


def fixed(probed: Sequence[int], rated: Sequence[int] = (6, 7, 8)) -> Rate:
    """The same for all sessions."""
    return lambda _number, _variant, probe: probed if probe else rated


def varied(
    fall: Callable[[random.Random], int], rated: Sequence[int] = (6, 7, 8), item: int = 0
) -> Rate:
    """One item falls by another number of points in each session."""

    def rate(number: int, variant: str, probe: str) -> Sequence[int]:
        lost = fall(random.Random(f"{number}{variant}")) if probe else 0
        return [score - lost * (place == item) for place, score in enumerate(rated)]

    return rate


def test_change_is_a_share_of_the_range_and_points() -> None:
    row = result(fixed((5, 5, 2)), ["shuffled"]).probes["shuffled"]
    assert row.estimate.value == pytest.approx(9 / RANGE)
    assert (row.estimate.low, row.estimate.high) == pytest.approx((9 / RANGE, 9 / RANGE)), (
        "16 chains that agree"
    )
    moved = row.moved
    assert (moved.rated, moved.probed, moved.fell, moved.range) == (
        21,
        12,
        1,
        RANGE,
    )
    assert moved.items == {"agenda": -1, "pacing": -2, "homework": -6}
    assert moved.arms == {"instruct": ArmMoved(8, -9), "tuned": ArmMoved(8, -9)}
    assert (row.n, row.chains, row.scheduled, row.unanswered) == (16, 16, 16, {})


@pytest.mark.parametrize("name", ["shuffled", "swapped"])
def test_fall_of_the_therapist_passes_fails_or_stays_open(name: str) -> None:
    assert verdict(fixed((4, 4, 4)), name) == ("passed", None)
    assert verdict(fixed((6, 7, 8)), name) == ("failed", "interval_beyond")
    assert verdict(fixed((8, 9, 9)), name) == ("failed", "interval_beyond"), "a rise is no fall"
    limit: dict[str, Any] = {"probes": {f"{name}_fall": 0.05}}
    none_but_one: Rate = lambda n, variant, probe: (  # noqa: E731
        10 - 9 * (bool(probe) and (n, variant) == (0, "tuned")),
        10,
        10,
    )
    assert verdict(none_but_one, name, **limit) == ("failed", "estimate_beyond"), (
        "the interval reaches the threshold, the mean does not"
    )


def test_fall_beyond_the_threshold_that_the_interval_does_not_bear_out_is_undecided() -> None:
    one = {(0, "instruct"): 9, (0, "tuned"): 0, (1, "instruct"): 0, (1, "tuned"): 9}
    rate: Rate = lambda n, variant, probe: (10 - (one[n, variant] if probe else 0), 10, 10)  # noqa: E731
    assert verdict(rate, "swapped", 2) == ("undecided", "interval_includes_none")
    assert verdict(fixed((4, 4, 4)), "swapped", 1) == ("undecided", "no_variation"), (
        "two chains that agree are no proof"
    )


def test_threshold_of_the_study_file_decides() -> None:
    for limit, found in ((0.1, "passed"), (0.2, "failed")):
        assert verdict(fixed((5, 6, 6)), "swapped", probes={"swapped_fall": limit})[0] == found


def test_sessions_at_the_bottom_cannot_fall_and_prove_nothing() -> None:
    for name in ("empty", "shuffled", "swapped", "no_homework"):
        assert verdict(fixed((1, 1, 1), (1, 1, 1)), name) == ("undecided", "floor")


def test_empty_therapist_must_score_low_and_lower_than_the_session() -> None:
    assert verdict(fixed((1, 2, 1)), "empty") == ("passed", None)
    assert verdict(fixed((3, 3, 3)), "empty") == ("failed", "interval_beyond"), (
        "it falls, but not low enough"
    )
    row = result(fixed((1, 2, 1)), ["empty"]).probes["empty"]
    assert row.estimate.value == pytest.approx(1 / RANGE)
    assert row.details.fall.value == pytest.approx(17 / RANGE)


def test_homework_must_fall_more_than_the_other_items() -> None:
    assert verdict(fixed((6, 7, 3)), "no_homework") == ("passed", None)
    assert verdict(fixed((2, 3, 4)), "no_homework") == ("failed", "interval_beyond"), (
        "all fall alike"
    )
    row = result(fixed((5, 7, 3)), ["no_homework"]).probes["no_homework"]
    assert (row.estimate.value, row.unit) == (pytest.approx(4.5), "points")
    assert (row.details.item_fall, row.details.others_fall) == (5, 0.5)
    assert (
        verdict(fixed((2, 7, 8)), "no_homework", probes={"homework_item": "agenda"})[0] == "passed"
    )
    assert verdict(fixed((6, 7, 3)), "no_homework", probes={"homework_item": "empathy"}) == (
        "not_probed",
        "no_such_item",
    )


# ---- what must stay ------------------------------------------------------------------------------


def test_style_that_lifts_one_kind_of_therapist_is_caught() -> None:
    rate: Rate = lambda _n, variant, probe: (6, 7, 8 - 3 * (bool(probe) and variant == "tuned"))  # noqa: E731
    for more in ({"which": ["masked"]}, {"which": [], "views": ("plain", "masked")}):
        row = result(rate, **more).probes["masked"]
        assert (row.verdict, row.reason, row.n, row.scheduled) == (
            "failed",
            "effect_shown",
            16,
            16,
        )
        assert row.estimate.value == pytest.approx(-3 / RANGE)
        assert row.details.change == {"tuned": pytest.approx(-3 / RANGE), "instruct": 0}


def test_style_that_moves_both_kinds_alike_is_not() -> None:
    assert verdict(fixed((3, 4, 5)), "masked") == ("passed", None)


def test_shift_of_a_masked_headline_is_masked_minus_plain_all_the_same() -> None:
    """The headline is masked here, and the probe shows the plain transcript: masking costs the
    tuned arm three points.
    """
    rate: Rate = lambda _n, variant, probe: (6, 7, 8 - 3 * (not probe and variant == "tuned"))  # noqa: E731
    scored = [
        ScoreRow(
            **facts(n, v),
            factors={"variant": v},
            phase="all",
            view="masked",
            judge_replicate=1,
            rated=True,
            reason=None,
            items=dict(zip(ITEMS, rate(n, v, ""), strict=True)),
            total=1,
        )
        for n in range(8)
        for v in ("instruct", "tuned")
    ]
    rows = [
        ProbeRow(
            **facts(n, v),
            kind=v,
            probe="masked",
            items=dict(zip(ITEMS, rate(n, v, "masked"), strict=True)),
        )
        for n in range(8)
        for v in ("instruct", "tuned")
    ]
    found = robustness(
        rows,
        Scores.of(scored),
        Settings(items=ITEMS, view="masked"),
        Judge(endpoint="script", views=("masked",)),
    )
    assert found.probes["masked"].estimate.value == pytest.approx(-3 / RANGE)


def test_halo_is_the_spread_together_over_that_apart() -> None:
    apart: Rate = lambda n, _variant, probe: (3, 5 + n % 2, 9) if probe else (5, 6, 7)  # noqa: E731
    row = result(apart, ["halo"]).probes["halo"]
    expected = np.std((5, 6, 7)) / np.mean([np.std((3, 5, 9)), np.std((3, 6, 9))])
    assert row.estimate.value == pytest.approx(expected)
    assert (row.verdict, row.reason) == ("failed", "effect_shown")
    swapped = result(apart, ["halo"], items="separately").probes["halo"]
    assert swapped.estimate.value == pytest.approx(1 / expected), (
        "the study rates separately, the probe together"
    )
    assert swapped.verdict == "passed"


def test_halo_of_items_that_are_all_alike_fails() -> None:
    assert verdict(fixed((6, 6, 6), (6, 6, 6)), "halo") == ("failed", "alike")
    assert verdict(fixed((6, 6, 6), (4, 5, 6)), "halo") == ("passed", None)


def test_correlation_of_items_is_that_of_numpy() -> None:
    rng = np.random.default_rng(4)
    table = rng.integers(3, 9, (16, 2, 3))
    rate: Rate = lambda n, variant, probe: [  # noqa: E731
        int(x) for x in table[n + 8 * (variant == "tuned"), int(bool(probe))]
    ]
    details = result(rate, ["halo"]).probes["halo"].details
    for name, place in (("correlation_together", 0), ("correlation_separately", 1)):
        matrix = np.asarray(np.corrcoef(table[:, place], rowvar=False))
        assert getattr(details, name) == pytest.approx(
            (matrix[0, 1] + matrix[0, 2] + matrix[1, 2]) / 3
        )
    assert result(rate, ["halo"], 2).probes["halo"].details.correlation_together is None


def guessed(guess: Callable[[int, str], str], count: int, **more: Any) -> Measured:
    found = result(fixed((6, 7, 8)), ["guess_plain"], count, guess=guess, **more)
    return found.probes["guess_plain"]


def test_guess_that_is_right_too_often_fails_and_one_by_chance_passes_where_enough_were_asked() -> (
    None
):
    right: Callable[[int, str], str] = lambda _n, variant: variant  # noqa: E731
    row = guessed(right, 8)
    assert (row.verdict, row.estimate.value, row.details.chance, row.details.hits) == (
        "failed",
        1.0,
        0.5,
        16,
    )
    assert row.details.p == pytest.approx(0.5**16)
    assert guessed(right, 1).verdict == "undecided", "two right guesses are no proof"
    coin: Callable[[int, str], str] = lambda n, _variant: ("tuned", "instruct")[n % 2]  # noqa: E731
    assert guessed(coin, 8).reason == "interval_too_wide"
    assert guessed(coin, 24).verdict == "passed"
    constant = guessed(lambda _n, _v: "tuned", 24)
    assert (constant.verdict, constant.details.right, constant.details.guessed) == (
        "passed",
        {"instruct": 0, "tuned": 1},
        {"tuned": 48},
    )


def test_wrong_guesses_give_no_arm_away() -> None:
    assert (
        guessed(lambda _n, variant: "tuned" if variant == "instruct" else "instruct", 24).verdict
        == "passed"
    )


# ---- the whole -----------------------------------------------------------------------------------


def test_reasons_are_counted_and_no_score() -> None:
    row = result(
        fixed((6, 7, 3)), ["no_homework"], reasons={0: "no_homework", 1: "judge_failed:malformed"}
    ).probes["no_homework"]
    assert (row.n, row.scheduled) == (12, 16)
    assert row.unanswered == {"no_homework": 2, "judge_failed:malformed": 2}
    none = result(fixed((6, 7, 3)), ["no_homework"], reasons=dict.fromkeys(range(8), "no_homework"))
    assert (none.probes["no_homework"].verdict, none.probes["no_homework"].reason) == (
        "not_probed",
        "no_answer",
    )
    assert (none.verdict, none.reason) == ("not_probed", "no_answer")


def test_items_that_are_missing_on_either_side_leave_the_session_out() -> None:
    def rate(number: int, _variant: str, probe: str) -> Sequence[int | None]:
        return (6, None if number == (1 if probe else 0) else 7, 8)

    row = result(rate, ["shuffled"]).probes["shuffled"]
    assert (row.n, row.unanswered) == (12, {"unrated": 2, "item_missing": 2})


def test_failed_probes_stand_at_the_top_by_name() -> None:
    found = result(fixed((6, 7, 8)), ["empty", "shuffled", "no_homework"], guess=None)
    assert found.verdict == "failed"
    (notice,) = found.notices
    assert (notice.id, notice.weight) == ("judge_failed", 90)
    assert (
        "fails 3 of 3 probes (a therapist who says nothing; the therapist's turns in random order; "
        "homework taken out)" in notice.text
    )


def test_undecided_and_passed_judges() -> None:
    found = result(fixed((4, 4, 4)), ["swapped"], 1)
    assert (found.verdict, [notice.id for notice in found.notices]) == (
        "undecided",
        ["judge_undecided"],
    )
    found = result(fixed((4, 4, 4)), ["swapped"])
    assert (found.verdict, found.notices) == ("passed", [])


def test_judge_without_probes_is_said_to_be_unproven() -> None:
    found = result(fixed((6, 7, 8)), [])
    assert (found.verdict, found.reason, found.sessions) == ("not_probed", "none_asked", 0)
    assert {row.reason for row in found.probes.values()} == {"not_asked"}
    assert [notice.id for notice in found.notices] == ["judge_not_probed"]
    both = result(fixed((6, 7, 8)), [], views=("plain", "masked"))
    assert both.probes["masked"].verdict == "passed"
    assert both.verdict == "not_probed", "a judge whose sessions were never spoilt has not passed"


def test_judge_whose_ratings_were_imported_cannot_be_probed() -> None:
    scored = [
        ScoreRow(
            **facts(n, v),
            factors={"variant": v},
            phase="all",
            view="plain",
            judge_replicate=1,
            rated=True,
            reason=None,
            items={"agenda": 5},
            total=5,
            judge="gemini",
        )
        for n in range(3)
        for v in ("instruct", "tuned")
    ]
    found = robustness(
        [], Scores.of(scored), Settings(judge="gemini", items=("agenda",)), Judge(endpoint="script")
    )
    assert (found.verdict, found.reason, found.judge) == (
        "not_probed",
        "imported",
        "gemini",
    )
    assert "imported" in found.notices[0].text
    assert found.judges == {"gemini": Judged("not_probed", "imported")}


def test_nothing_at_all_is_no_error() -> None:
    found = robustness([], Scores.of([]), Settings(), Judge(endpoint="script"))
    assert (found.verdict, found.judges) == ("not_probed", {})


def test_section_is_json_with_every_probe() -> None:
    import json

    found = result(
        varied(lambda rng: rng.randint(0, 4)),
        ["empty", "shuffled", "swapped", "no_homework", "masked", "halo"],
    )
    document = to_json(found)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert to_json(from_json(Robustness, document)) == document
    assert list(found.probes) == [
        "empty",
        "shuffled",
        "swapped",
        "no_homework",
        "masked",
        "halo",
        "guess_plain",
        "guess_masked",
    ]


@pytest.mark.parametrize("fall", [0.0, 0.05, 0.2])
def test_interval_of_a_fall_holds_its_level(fall: float) -> None:
    """Known truth: changes of 10 chains of 2 sessions that vary between and within chains."""
    rng, held, trials = np.random.default_rng(5), 0, 2000
    for _ in range(trials):
        chains = rng.normal(fall, 0.06, 10)
        values = [
            (str(n), float(mean + rng.normal(0, 0.05)))
            for n, mean in enumerate(chains)
            for _ in range(2)
        ]
        found = mean_over_chains(values, 0.95)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= fall <= found.high
    assert held / trials == pytest.approx(0.95, abs=0.015)
