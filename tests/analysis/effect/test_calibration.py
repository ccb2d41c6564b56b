"""Intervals that the report prints hold their level.

Those of the published model and of the percentile bootstrap do not.
"""

import pytest

from cbt_ray.analysis.effect import calibration
from cbt_ray.analysis.effect.calibration import broken
from tests.analysis.effect import calibration as simulation

pytestmark = pytest.mark.slow

STUDIES = 1500
NOISE = 3 * (0.95 * 0.05 / STUDIES) ** 0.5


@pytest.mark.parametrize("patients", [5, 10, 20])
@pytest.mark.parametrize("method", ["t", "fitted variances"])
def test_what_is_printed_covers_its_level_again(method: str, patients: int) -> None:
    studies = STUDIES if method == "t" else 2500 // patients
    noise = NOISE * (STUDIES / studies) ** 0.5
    for share in simulation.coverage(method, patients, studies, seed=7):
        assert 0.95 - noise - 0.005 < share < 0.95 + noise + 0.005


@pytest.mark.parametrize("method", ["published", "percentile"])
def test_what_is_not_printed_falls_short_at_five_patients(method: str) -> None:
    assert simulation.worst(simulation.coverage(method, 5, 300, seed=7)) < 0.9


def test_the_record_says_so_at_5_10_and_20_patients() -> None:
    methods = calibration.calibration()["methods"]
    for patients in ("5", "10", "20"):
        for method in ("t", "fitted variances"):
            row = methods[method][patients]
            assert 0.93 <= row["coverage"] <= 0.97
            assert all(0.04 <= 1 - share <= 0.06 for share in row["contrasts"])
        assert methods["published"][patients]["coverage"] < 0.9
    assert methods["percentile"]["5"]["coverage"] < 0.9


def test_an_interval_that_does_not_hold_is_withheld_with_the_reason() -> None:
    assert broken("t", 5) is None
    assert broken("fitted variances", 7) is None
    assert broken("t", 1) == "withheld: by t, no simulation had 1 patient"
    assert "covers 83" in str(broken("percentile", 5)) or "covers 82" in str(
        broken("percentile", 5)
    )
