"""Pairs of conditions: against scipy and statsmodels."""

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from cbt_ray.analysis.effect.pairs import holm_sidak, wilson, wins


def test_a_tie_is_half_a_win_and_the_interval_is_wilsons() -> None:
    found = wins(np.array([1.0, 2.0, 0.0, 1e-12, -1.0]), 0.95)
    assert (found.wins, found.ties, found.losses, found.rate) == (2, 2, 1, 0.6)
    assert found.p == pytest.approx(binomtest(2, 3).pvalue)
    interval = binomtest(2, 5).proportion_ci(0.95, method="wilson")
    assert (found.strict.low, found.strict.high) == pytest.approx((interval.low, interval.high))
    assert wilson(1.0, 7, 0.9) == pytest.approx(binomtest(7, 7).proportion_ci(0.9, method="wilson"))


def test_holm_sidak_equals_statsmodels_and_keeps_tiny_p() -> None:
    p = [0.04, 1e-20, 0.2, 0.011, 0.9]
    assert holm_sidak(p) == pytest.approx(list(multipletests(p, method="holm-sidak")[1]), abs=1e-12)
    assert holm_sidak([1.0, 1.0]) == [1.0, 1.0]
    assert holm_sidak(p)[1] == pytest.approx(5e-20)
