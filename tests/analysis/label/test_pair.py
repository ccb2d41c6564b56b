"""Two arms compared in labels: McNemar and sign flips by counting, Holm, the difference of F1."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from math import comb

import pytest

from cbt_ray.analysis import Settings
from cbt_ray.analysis.effect.contrast import holm
from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.label.labelled import Labelled
from cbt_ray.analysis.label.labels import labels
from cbt_ray.analysis.label.pair import AVERAGED, FLIPS, MCNEMAR, LabelPair
from tests.analysis.label.replies import LABELS, NOTHING, TUNING, cases, imperfect, replies

CASES = cases()


def compared(rows: Sequence[Labelled]) -> LabelPair:
    """The pair `tuned - instruct`."""
    found = labels(rows, Settings(contrasts=(TUNING,)), None, LABELS)
    assert found is not None
    (pair,) = found.pairs
    return pair


def both(plus: Sequence[bool], minus: Sequence[bool], each: int = 1) -> list[Labelled]:
    """Replies that are right in these cases, and name nothing in the others."""
    references = cases(len(plus))
    sides = [
        [one if right else NOTHING for right, one in zip(side, references, strict=True)]
        for side in (plus, minus)
    ]
    return [
        *replies("tuned", sides[0], references, each=each),
        *replies("instruct", sides[1], references, each=each),
    ]


def test_mcnemar_by_hand() -> None:
    """10 cases are right in the first arm alone, 2 in the second: 2 (1 + 12 + 66) / 2 ** 12."""
    plus = [True] * 10 + [False] * 2 + [True] * 8
    minus = [False] * 10 + [True] * 2 + [True] * 8
    found = compared(both(plus, minus)).exact
    assert (found.plus, found.minus, found.method) == (10, 2, MCNEMAR)
    assert found.p == pytest.approx(2 * sum(comb(12, k) for k in range(3)) / 2**12)


def test_cases_of_one_persona_flip_together() -> None:
    """All flips of the personas' sums, one by one."""
    draw = random.Random(5)
    for _ in range(10):
        plus, minus = ([draw.random() < share for _ in range(30)] for share in (0.7, 0.4))
        found = compared(both(plus, minus, each=3)).exact
        gains = [int(a) - int(b) for a, b in zip(plus, minus, strict=True)]
        net = [sum(gains[n : n + 3]) for n in range(0, 30, 3)]
        sums = [
            abs(sum(sign * one for sign, one in zip(signs, net, strict=True)))
            for signs in product((1, -1), repeat=len(net))
        ]
        assert found.method == FLIPS
        assert found.p == pytest.approx(sum(one >= abs(sum(net)) for one in sums) / len(sums))


def test_a_second_training_that_says_the_same_changes_no_p() -> None:
    plus, minus = [True] * 9 + [False] * 11, [False] * 8 + [True] * 3 + [False] * 9
    rows = both(plus, minus)
    references, named = ([getattr(row, of) for row in rows[:20]] for of in ("reference", "named"))
    once = compared(rows)
    twice = compared([*rows, *replies("tuned", named, references, seed=2)])
    assert (once.seeds, twice.seeds) == ((1, 1), (2, 1))
    assert (twice.exact.plus, twice.exact.minus) == (once.exact.plus, once.exact.minus)
    assert twice.exact.p == pytest.approx(once.exact.p)
    assert (once.exact.method, twice.exact.method) == (MCNEMAR, FLIPS)
    assert AVERAGED in (twice.caveat or "")
    assert AVERAGED not in (once.caveat or "")


def test_trainings_that_differ_are_averaged_within_a_case() -> None:
    """Right in one of two trainings is worth half a case: sums of +1, +1/2, +1/2, -1."""
    references = cases(4)
    first = [references[0], references[1], NOTHING, NOTHING]
    second = [references[0], NOTHING, references[2], NOTHING]
    rows = [
        *replies("tuned", first, references, seed=1),
        *replies("tuned", second, references, seed=2),
        *replies("instruct", [NOTHING, NOTHING, NOTHING, references[3]], references),
    ]
    found = compared(rows).exact
    assert (found.plus, found.minus) == (3, 1)
    assert found.p == pytest.approx(
        sum(abs(2 * a + b + c + 2 * d) >= 2 for a, b, c, d in product((1, -1), repeat=4)) / 16
    )


def test_trainings_that_differ_widen_the_difference() -> None:
    sides = [imperfect(CASES, skill, 5) for skill in (0.9, 0.6)]
    instruct = replies("instruct", imperfect(CASES, 0.5, 6), CASES)
    widths = []
    for other in (0, 1):
        trained = [replies("tuned", sides[n], CASES, seed=n) for n in (0, other)]
        rows = [row for one in trained[: 1 + other] for row in one]
        found = compared([*rows, *instruct]).f1
        widths.append((found.high or 0) - (found.low or 0))
        assert -1 <= (found.low or 0) < (found.value or 0) < (found.high or 0) <= 1
    assert widths[1] > 2 * widths[0]


def test_holm_goes_over_all_labels_of_the_form() -> None:
    few = [frozenset(one & set(LABELS[:6])) for one in cases(80)]
    rows = [
        *replies("tuned", few, few),
        *replies("instruct", [one - {"label 0"} for one in imperfect(few, 0.9, 3)], few),
    ]
    found = compared(rows).labels
    assert [row.label for row in found] == list(LABELS)
    known = [row for row in found if row.p is not None]
    assert len(known) < len(found)
    withheld = [row for row in found if row.p is None]
    assert {row.reason for row in withheld} == {"neither a reply nor the generator named it"}
    assert [row.p_adjusted for row in withheld] == [None] * len(withheld)
    expected = holm([1.0 if row.p is None else row.p for row in found])
    assert [row.p_adjusted for row in known] == expected[: len(known)]
    assert found[0].p_adjusted == pytest.approx(10 * (found[0].p or 0))


def test_the_difference_of_f1_lies_between_the_ends_of_both_and_is_on_shared_cases() -> None:
    tuned = replies("tuned", imperfect(CASES, 0.9, 1), CASES)
    instruct = replies("instruct", imperfect(CASES, 0.6, 2), CASES)
    found = compared([*tuned[:80], *instruct[10:]])
    assert (found.cases, found.personas) == (70, 70)
    again = labels([*tuned[10:80], *instruct[10:80]], Settings(contrasts=(TUNING,)))
    assert again is not None
    one, other = (arm.all.f1 for arm in again.arms)
    assert found.f1.value == pytest.approx((one.value or 0) - (other.value or 0))
    assert found.f1.low is not None
    assert found.f1.high is not None
    assert (one.low or 0) - (other.high or 0) < found.f1.low < (found.f1.value or 0)
    assert (found.f1.value or 0) < found.f1.high < (one.high or 0) - (other.low or 0)


def test_arms_that_go_alike_differ_more_surely() -> None:
    """The same skill by persona in both arms, or turned round: the first is the narrower."""
    easy = [case % 20 < 10 for case in range(100)]
    right = [one or case % 7 == 0 for case, one in enumerate(easy)]
    widths = []
    for other in (easy, [not one for one in easy]):
        found = compared(both(right, other)).f1
        widths.append((found.high or 0) - (found.low or 0))
    assert widths[0] < 0.8 * widths[1]


def test_two_echoes_differ_by_nothing_with_an_interval_of_some_width() -> None:
    found = compared([*replies("tuned", CASES, CASES), *replies("instruct", CASES, CASES)])
    assert found.f1.value == 0.0
    assert -0.1 < (found.f1.low or 0) <= 0 <= (found.f1.high or 0) < 0.1
    assert found.exact.p == 1.0


def test_arms_without_a_case_in_common_say_so() -> None:
    tuned, instruct = (replies(arm, CASES, CASES) for arm in ("tuned", "instruct"))
    found = compared([*tuned[:50], *instruct[50:]])
    assert found.f1 == Estimate(None, reason="no case has replies of both")
    assert (found.exact.p, found.exact.reason) == (None, "no case has replies of both")
    assert {row.reason for row in found.labels} == {"no case has replies of both"}


def test_without_a_contrast_there_is_no_pair() -> None:
    found = labels(replies("tuned", CASES, CASES), Settings(contrasts=()))
    assert found is not None
    assert (found.pairs, found.reason) == ([], "no primary contrast is asked")
