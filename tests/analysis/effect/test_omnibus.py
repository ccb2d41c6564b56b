"""F and Hotelling's T squared against independent calculations, and the size of the test where
nothing differs.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cbt_ray.analysis import analyse
from cbt_ray.analysis.effect.layout import Layout
from tests.analysis.effect.test_contrast import noisy
from tests.analysis.tables import Key, made_up

pytestmark = pytest.mark.slow

DESIGN: dict[str, Any] = {
    "models": ("a", "b", "c"),
    "patients": tuple(f"p{i}" for i in range(7)),
    "sessions": 4,
}


def test_f_equals_statsmodels_anova_on_chain_means() -> None:
    import statsmodels.formula.api as smf
    from statsmodels.stats.anova import anova_lm

    rows = noisy(11, **DESIGN)
    frame = pd.DataFrame(
        [
            {"m": r.factors["model"], "v": r.factors["variant"], "p": r.patient, "y": r.total}
            for r in rows
        ]
    )
    means = frame.groupby(["m", "v", "p"], as_index=False)["y"].mean()
    table = anova_lm(smf.ols("y ~ C(m) * C(v) + C(p)", means).fit())
    found = {row.effect: row for row in analyse(rows).tests}
    for effect, term in (("model", "C(m)"), ("variant", "C(v)"), ("model x variant", "C(m):C(v)")):
        assert found[effect].f == pytest.approx(table.loc[term, "F"])
        assert found[effect].p == pytest.approx(table.loc[term, "PR(>F)"])
        assert (found[effect].df, found[effect].df_error) == (
            table.loc[term, "df"],
            table.loc["Residual", "df"],
        )


def test_hotelling_of_one_contrast_is_the_square_of_t() -> None:
    rows = noisy(12, patients=("p1", "p2", "p3", "p4"), sessions=4)
    result = analyse(rows)
    (test,) = result.tests
    (contrast,) = result.contrasts.primary.rows
    assert test.effect == "arm"
    assert test.hotelling.f == pytest.approx(contrast.t**2)
    assert test.hotelling.p == pytest.approx(contrast.p)


def test_unbalanced_data_are_tested_by_their_fitted_variances() -> None:
    rows = noisy(
        11,
        reason=lambda key: "judge_failed" if key[:4] == ("a", "tuned", "p1", 2) else None,
        **DESIGN,
    )
    assert all(
        row.method.startswith("F by fitted variances: chains rest on")
        for row in analyse(rows).tests
    )


def test_an_empty_arm_has_no_test_and_says_so() -> None:
    def gone(key: Key) -> str | None:
        return "owed" if key[1] == "tuned" else None

    (row,) = analyse(made_up(reason=gone)).tests
    assert row.p is None
    assert "shares no patient" in row.reason


def test_many_patients_do_not_make_the_arms_look_confounded() -> None:
    """The zero of the arms' information is then a small number of either sign."""
    many = np.random.default_rng(1).normal(size=(6, 150))
    cells = Layout(
        tuple("abcdef"), tuple(map(str, range(150))), many, 0.0, np.zeros((6, 150)), None
    )
    assert cells.estimable(np.array([1.0, -1.0, 0, 0, 0, 0]))
    assert np.abs(cells.inverse).max() < 0.01
