"""The law of t and F under fitted variances: equal to F where it is known, to simulations where it
is not, and without a seed.
"""

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cbt_ray.analysis import ScoreRow, analyse
from cbt_ray.analysis.document import to_json
from cbt_ray.analysis.effect.fitted import law
from cbt_ray.analysis.effect.layout import Layout, f_value
from cbt_ray.report.page import sections
from tests.analysis.tables import made_up
from tests.report.sample import sample

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, np.dtype[Any]]


def cells(arms: int, patients: int, share: Array, within: float = 60.0) -> Layout:
    means = np.where(
        share > 0, np.random.default_rng(arms + patients).normal(0, 2, (arms, patients)), np.nan
    )
    return Layout(
        tuple(map(str, range(arms))),
        tuple(map(str, range(patients))),
        means,
        within,
        share,
        "unbalanced",
    )


def each_less_the_first(arms: int) -> Array:
    return np.hstack([-np.ones((arms - 1, 1)), np.eye(arms - 1)])


@pytest.mark.parametrize(("arms", "patients"), [(2, 2), (2, 5), (3, 4), (6, 5), (2, 300), (6, 60)])
def test_on_balanced_data_it_is_f(arms: int, patients: int) -> None:
    layout = cells(arms, patients, np.full((arms, patients), 0.05))
    of, df = law(layout, each_less_the_first(arms)), (arms - 1, (arms - 1) * (patients - 1))
    for f in (0.01, 0.7, 2.0, 9.0, 80.0, 5000.0):
        assert of.tail(f) == pytest.approx(float(stats.f.sf(f, *df)), abs=1e-9)
    assert of.critical(0.95) == pytest.approx(float(stats.f.ppf(0.95, *df)), rel=1e-6)


@pytest.mark.parametrize(
    ("arms", "patients", "lost"), [(2, 3, 0), (2, 5, 2), (4, 6, 3), (2, 40, 5)]
)
def test_on_other_data_it_is_what_simulated_studies_give(
    arms: int, patients: int, lost: int
) -> None:
    random = np.random.default_rng(arms * patients)
    share = 1 / random.integers(2, 21, (arms, patients))
    share.ravel()[:lost] = 0
    layout, table = cells(arms, patients, share), each_less_the_first(arms)
    between = max(
        0.0, float(layout.mean_square(layout.means)) - 60.0 * float(share[share > 0].mean())
    )
    drawn = random.standard_normal((40_000, arms, patients)) * np.sqrt(between + 60.0 * share)
    effects, middle = (
        layout.effects(drawn) @ table.T,
        np.linalg.inv(table @ layout.inverse @ table.T),
    )
    f = np.einsum("di,ij,dj->d", effects, middle, effects) / (
        len(table) * layout.mean_square(drawn)
    )
    of = law(layout, table)
    for point in (0.5, 2.0, 5.0, 10.0):
        assert of.tail(point) == pytest.approx(float(np.mean(f >= point)), abs=0.01)
    assert np.mean(f >= of.critical(0.95)) == pytest.approx(0.05, abs=0.005)
    assert of.tail(of.critical(0.95)) == pytest.approx(0.05, abs=1e-9)
    assert of.tail(f_value(layout, table)) == of.tail(f_value(layout, table))


def unbalanced(patients: int) -> list[ScoreRow]:
    """Two models, five judges and lost sessions: every place where something was drawn once."""
    random = np.random.default_rng(8)
    names = tuple(f"p{number:03d}" for number in range(patients))
    found = []
    for judge in ("judge", "ann", "bob", "cy", "dee"):
        rows = made_up(
            lambda key, item: int(random.integers(2, 9)) + (key[1] == "tuned"),
            lambda key: (
                "not_reached" if key[1] == "tuned" and key[2] == "p001" and key[3] > 2 else None
            ),
            models=("a", "b"),
            patients=names,
        )
        found += [ScoreRow(**{**row.to_json(), "judge": judge, "kind": "model"}) for row in rows]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("patients", [5, 30])
def test_no_seed_changes_a_number_of_the_analysis_or_of_the_page(
    patients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The analysis has no seed.

    And nothing in it draws, or its generator would be asked for here.
    """
    rows = unbalanced(patients)
    first = analyse(rows)

    def refuse(*_: object) -> None:
        raise AssertionError("the analysis draws")

    monkeypatch.setattr(np.random, "default_rng", refuse)
    second = analyse(rows)
    assert json.dumps(to_json(first)) == json.dumps(to_json(second))
    pages = [
        sections(sample([], analysis=one, training=[], seed=seed))
        for one, seed in ((first, 1), (second, 2))
    ]
    assert pages[0] == pages[1]
    assert first.contrasts.primary.rows[0].method.startswith(
        "t on chain means, by fitted variances"
    )
    assert first.reliability.judges.agreement.random_judges
