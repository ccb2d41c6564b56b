"""Labels against the generator's: counts and F1 by other formulas and by hand, chance, ceiling,
what casts doubt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import pytest

from cbt_ray.analysis import Analysis, Beside, Settings, analyse
from cbt_ray.analysis.document import from_json, to_json
from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.label.agreed import f1
from cbt_ray.analysis.label.labelled import Labelled, Replies
from cbt_ray.analysis.label.labels import ArmLabels, Labels, labels
from tests.analysis.label.coverage import Cell, covered
from tests.analysis.label.replies import (
    LABELS,
    NOTHING,
    TUNING,
    Named,
    cases,
    imperfect,
    replies,
)
from tests.analysis.tables import made_up

SETTINGS = Settings(contrasts=(TUNING,))
CASES = cases()


def found(rows: Sequence[Labelled], ceiling: str | None = None) -> Labels:
    """The section."""
    section = labels(rows, SETTINGS, ceiling, LABELS)
    assert section is not None
    return section


def only(rows: Sequence[Labelled]) -> ArmLabels:
    """The one arm."""
    (arm,) = found(rows).arms
    return arm


def said(section: Labels) -> dict[str, str]:
    return {notice.id: notice.text for notice in section.notices}


def shuffled(seed: int) -> list[frozenset[str]]:
    return random.Random(seed).sample(CASES, len(CASES))


# ---- echo, chance, silence -----------------------------------------------------------------------


def test_an_echo_has_f1_of_exactly_one_and_an_interval_of_some_width() -> None:
    arm = only(replies("echo", CASES, CASES))
    for share in (arm.all.f1, arm.all.precision, arm.all.recall, arm.exact):
        assert (share.value, share.high) == (1.0, 1.0)
        assert share.low is not None
        assert 0.9 < share.low < 1
    assert arm.macro_f1 == 1.0
    assert (arm.all.fp, arm.all.fn) == (0, 0)


def test_where_all_is_right_the_interval_is_that_of_as_many_personas() -> None:
    """Clopper and Pearson's lower end of 50 of 50 is .025 ** (1 / 50)."""
    pair = [frozenset(LABELS[:2])] * 50
    p = 0.025 ** (1 / 50)
    assert only(replies("echo", pair, pair)).all.f1.low == pytest.approx(2 * p / (1 + p))
    p = 0.025 ** (1 / 10)
    few = only(replies("echo", pair, pair, each=5)).all.f1.low
    assert few == pytest.approx(2 * p / (1 + p))


def test_replies_dealt_to_other_cases_have_the_base_rate() -> None:
    arm = only(replies("dealt", shuffled(7), CASES))
    assert arm.base_rate is not None
    assert arm.all.f1.value == pytest.approx(arm.base_rate, abs=0.03)
    assert 0.1 < arm.base_rate < 0.4


def test_the_base_rate_is_the_mean_over_all_ways_to_turn_the_replies_round() -> None:
    named = imperfect(CASES, 0.7, 5)
    turned = [
        only(replies("turned", [*named[n:], *named[:n]], CASES)).all.f1.value or 0.0
        for n in range(len(CASES))
    ]
    assert only(replies("own", named, CASES)).base_rate == pytest.approx(fmean(turned), abs=1e-12)


def test_the_base_rate_is_what_permutations_within_a_training_have_on_average() -> None:
    """Only the second training names `label 0`, and only its cases all have it."""
    first = [one - {"label 0"} for one in imperfect(CASES, 0.7, 5)]
    second = replies("two", [frozenset({"label 0"})] * 100, CASES, seed=2)
    trainings = [
        replies("two", first, CASES),
        [row for row in second if row.named <= row.reference],
    ]
    draw, drawn = random.Random(1), []
    for _ in range(3000):
        dealt = [
            (one.named, other.reference)
            for rows in trainings
            for one, other in zip(draw.sample(rows, len(rows)), rows, strict=True)
        ]
        drawn.append(micro(*zip(*dealt, strict=True))[2])
    error = (fmean((one - fmean(drawn)) ** 2 for one in drawn) / len(drawn)) ** 0.5
    rate = only([row for rows in trainings for row in rows]).base_rate
    assert rate == pytest.approx(fmean(drawn), abs=4 * error)
    assert error < 0.001


def test_one_that_names_nothing_has_zero_with_its_reason() -> None:
    arm = only(replies("silent", [NOTHING] * 100, CASES, reason="no_distortions"))
    assert (arm.all.f1.value, arm.all.f1.low, arm.base_rate) == (0.0, 0.0, 0.0)
    assert 0 < (arm.all.f1.high or 0) < 0.2
    assert arm.unnamed == {"no_distortions": 100}
    assert arm.all.precision == Estimate(None, reason="no reply named it")
    assert arm.all.recall.value == 0.0
    assert (
        "no reply names any (100 no distortions)"
        in said(found(replies("silent", [NOTHING] * 100, CASES, reason="no_distortions")))[
            "labels_unnamed"
        ]
    )


# ---- other formulas, and by hand -----------------------------------------------------------------


def micro(named: Named, references: Named) -> tuple[float, float, float]:
    """Precision, recall and F1 over all pairs of a case and a label."""
    told = {(case, label) for case, one in enumerate(named) for label in one}
    true = {(case, label) for case, one in enumerate(references) for label in one}
    return f_beta(len(told & true), len(told), len(true))


def f_beta(both: int, told: int, true: int) -> tuple[float, float, float]:
    """As scikit-learn defines them, with beta 1: the harmonic mean of the others."""
    precision, recall = both / told if told else 0.0, both / true if true else 0.0
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


def test_counts_and_shares_by_the_formulas_of_scikit_learn() -> None:
    named = imperfect(CASES, 0.6, 2)
    arm = only(replies("one", named, CASES))
    own = (arm.all.precision.value, arm.all.recall.value, arm.all.f1.value)
    assert own == pytest.approx(micro(named, CASES))
    each = []
    for row, label in zip(arm.labels, LABELS, strict=True):
        told = [case for case, one in enumerate(named) if label in one]
        true = [case for case, one in enumerate(CASES) if label in one]
        both = len(set(told) & set(true))
        assert row.label == label
        assert (row.support, row.tp, row.fp, row.fn) == (
            len(true),
            both,
            len(told) - both,
            len(true) - both,
        )
        each.append(f_beta(both, len(told), len(true)))
        assert (row.precision.value, row.recall.value, row.f1.value) == pytest.approx(each[-1])
    assert arm.macro_f1 == pytest.approx(fmean(f1 for _, _, f1 in each))
    assert arm.exact.value == fmean(a == b for a, b in zip(named, CASES, strict=True))


def test_four_cases_by_hand() -> None:
    a, b, c, *_ = LABELS
    references = [frozenset({a}), frozenset({a, b}), frozenset({b}), NOTHING]
    named = [frozenset({a}), frozenset({a, c}), frozenset({a}), NOTHING]
    arm = only(replies("one", named, references))
    assert (arm.all.support, arm.all.tp, arm.all.fp, arm.all.fn) == (4, 2, 2, 2)
    assert arm.all.f1.value == 0.5
    first, second, third, *others = arm.labels
    assert first.f1.value == pytest.approx(0.8)
    assert (second.f1.value, third.f1.value) == (0.0, 0.0)
    assert second.precision == Estimate(None, reason="no reply named it")
    assert third.recall == Estimate(None, reason="the generator never named it")
    never = Estimate(None, reason="neither a reply nor the generator named it")
    assert [row.f1 for row in others] == [never] * 7
    assert arm.macro_f1 == pytest.approx(0.8 / 3)
    assert arm.exact.value == 0.5
    assert arm.base_rate == pytest.approx(2 * (3 * 2 / 4 + 0 + 0) / 8)
    assert (arm.replies, arm.cases, arm.personas, arm.seeds) == (4, 4, 4, 1)


def test_the_ends_of_every_interval_lie_within_0_and_1_and_about_the_value() -> None:
    for skill in (0.02, 0.5, 0.98):
        arm = only(replies("one", imperfect(CASES, skill, 8), CASES, each=4))
        for one in (arm.all, *arm.labels):
            for share in (one.precision, one.recall, one.f1):
                if share.value is not None:
                    assert share.low is not None
                    assert share.high is not None
                    assert 0 <= share.low <= share.value <= share.high <= 1
                    assert share.high - share.low > 0.01


def test_one_persona_has_values_and_no_interval() -> None:
    arm = only(replies("one", CASES, CASES, each=100))
    assert arm.all.f1 == Estimate(1.0, reason="needs 2 personas, found 1")


def test_cases_of_a_persona_that_go_alike_widen_the_interval() -> None:
    """Half the personas are always right, the others never."""
    named = [one if case // 10 % 2 else NOTHING for case, one in enumerate(CASES)]
    apart, together = (only(replies("one", named, CASES, each=n)).all.f1 for n in (1, 10))
    widths = [(one.high or 0) - (one.low or 0) for one in (apart, together)]
    assert widths[1] > 2 * widths[0]


def test_a_second_training_that_says_the_same_does_not_narrow_the_interval() -> None:
    named = imperfect(CASES, 0.7, 5)
    one = replies("one", named, CASES)
    twice = only([*one, *replies("one", named, CASES, seed=2)])
    once = only(one)
    assert twice.seeds == 2
    assert twice.replies == 2 * once.replies
    for alone, both in ((once.all.f1, twice.all.f1), (once.exact, twice.exact)):
        assert both.value == alone.value
        assert both.low == pytest.approx(alone.low, abs=0.004)
        assert both.high == pytest.approx(alone.high, abs=0.004)


def test_trainings_that_differ_widen_the_interval_and_more_of_them_less_so() -> None:
    """Half of the trainings find nearly all labels, the others few."""
    sides = [imperfect(CASES, skill, 5) for skill in (0.9, 0.4)]
    widths = []
    for count in (2, 4):
        rows = [
            row
            for seed in range(count)
            for row in replies("one", sides[seed % 2], CASES, seed=seed)
        ]
        own = Replies.of(rows, LABELS)
        alone, both = f1(own, 0.95, seeds_too=False), f1(own, 0.95)
        assert alone.value == both.value
        widths.append((both.high or 0) - (both.low or 0))
        assert widths[-1] > 2 * ((alone.high or 0) - (alone.low or 0))
    assert widths[0] > widths[1]


@pytest.mark.parametrize("kind", [((2.5, 2.0), (-4.0, -3.5)), ((-1.5, -1.5), (-1.7, -1.7))])
def test_intervals_of_f1_and_of_its_difference_cover_their_level(
    kind: tuple[tuple[float, float], tuple[float, float]],
) -> None:
    for share in covered(Cell(30, 3, *kind, apart=1.0, seeds=3, between=0.5), 400):
        assert share > 0.95 - 3 * (0.95 * 0.05 / 400) ** 0.5


# ---- what counts, and what casts doubt -----------------------------------------------------------


def test_an_owed_reply_is_left_out_and_a_malformed_one_is_not() -> None:
    rows = replies("one", CASES, CASES)
    owed, malformed = (replace(row, named=NOTHING, reason=None) for row in rows[:2])
    arm = only(
        [replace(owed, reason="owed"), replace(malformed, reason="no_form"), *rows[2:]],
    )
    assert (arm.replies, arm.left_out, arm.unnamed) == (99, {"owed": 1}, {"no_form": 1})
    assert arm.all.fn == len(rows[1].reference)


def test_without_a_reply_there_is_no_section() -> None:
    assert labels([], SETTINGS) is None
    rows = [replace(row, named=NOTHING, reason="owed") for row in replies("one", CASES, CASES)]
    section = found(rows)
    assert section.arms[0].all.f1.value is None
    assert section.arms[0].exact == Estimate(None, reason="there is no reply")
    assert section.answer.startswith("No reply")


def test_labels_that_the_form_does_not_have_follow_and_arms_are_in_their_order() -> None:
    rows = [
        *replies("tuned", [frozenset({"own", "label 1"})] * 9, CASES[:9]),
        *replies("instruct", CASES[:9], CASES[:9]),
    ]
    section = labels(rows, replace(SETTINGS, arms=("instruct", "tuned")), None, ["label 1"])
    assert section is not None
    assert [arm.arm for arm in section.arms] == ["instruct", "tuned"]
    names = [row.label for row in section.arms[0].labels]
    assert names[0] == "label 1"
    assert names[-1] == "own"
    assert names[1:] == sorted(names[1:])


def with_ceiling(skill: float) -> Labels:
    """An echo, replies dealt anew, and a generator of some skill."""
    return found(
        [
            *replies("tuned", imperfect(CASES, 0.8, 4), CASES),
            *replies("instruct", shuffled(7), CASES),
            *replies("generator", imperfect(CASES, skill, 9), CASES),
        ],
        ceiling="generator",
    )


def test_what_stands_at_the_top() -> None:
    good, poor = said(with_ceiling(0.85)), said(with_ceiling(0.3))
    assert "Labels of instruct: F1" in good["labels_as_dealt"]
    assert "is not above" in good["labels_as_dealt"]
    assert good.keys() == {"labels_as_dealt"}
    assert "not reliable" in poor["labels_unreliable"]
    lucky = [*CASES[:5], *shuffled(7)[5:]]
    unsure = said(found(replies("tuned", lucky, CASES)))
    assert "is not shown to be above" in unsure["labels_as_dealt"]
    without = said(found(replies("tuned", CASES, CASES)))
    assert without.keys() == {"labels_without_ceiling"}


def test_the_answer_names_arms_chance_and_ceiling() -> None:
    section = with_ceiling(0.85)
    tuned, instruct, generator = (arm.all.f1.value for arm in section.arms)
    assert f"with F1 {tuned:.2f} (" in section.answer
    assert f"and {instruct:.2f} (" in section.answer
    assert f"the generator agrees with itself at {generator:.2f} (" in section.answer
    assert section.answer.count("\n") == 0


def test_the_analysis_takes_the_section_over_with_its_notices() -> None:
    section = with_ceiling(0.3)
    whole = analyse(made_up(), beside=Beside(labels=section))
    assert whole.labels == section
    assert {notice.id for notice in section.notices} <= {notice.id for notice in whole.notices}
    assert to_json(from_json(Analysis, to_json(whole))) == to_json(whole)
