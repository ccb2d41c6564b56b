"""Arms are compared pair by pair, and training seeds are a random level below them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cbt_ray.analysis import ScoreRow, Settings, analyse
from cbt_ray.analysis.effect import seeds
from cbt_ray.analysis.effect.calibration import calibration, of_seeds
from cbt_ray.study.contrast import Contrast
from tests.analysis.effect import seed_studies

ORPO = Contrast(name="training", plus={"training": "orpo"}, minus={"training": "sft"})
PATIENTS = ("p1", "p2", "p3", "p4", "p5")


def row(arm: str, factors: dict[str, str], patient: str, total: int, seed: int = 0) -> ScoreRow:
    return ScoreRow(
        session_key=f"{arm}/{seed}/{patient}",
        arm=arm,
        factors=factors,
        patient=patient,
        replicate=1,
        session=1,
        phase="",
        view="plain",
        judge_replicate=1,
        rated=True,
        items={"one": total},
        total=total,
        messages=8,
        seed=seed,
    )


def prompts() -> list[ScoreRow]:
    """Two arms that are equal in model and variant, and one that was tuned."""
    arms = {
        "tuned": ({"variant": "tuned", "prompt": "none"}, 60, 1),
        "first": ({"variant": "instruct", "prompt": "A"}, 40, 2),
        "second": ({"variant": "instruct", "prompt": "B"}, 58, -1),
    }
    return [
        row(arm, factors, patient, mean + spread * place)
        for arm, (factors, mean, spread) in arms.items()
        for place, patient in enumerate(PATIENTS, -2)
    ]


def test_arms_that_differ_in_a_prompt_are_never_pooled() -> None:
    found = analyse(prompts()).contrasts.primary
    shown = {row.minus: row.estimate for row in found.rows}
    assert shown == {"first": pytest.approx(20.0), "second": pytest.approx(2.0)}
    assert found.question == "tuned - instruct"
    assert [row.label for row in found.rows] == ["tuned - first", "tuned - second"]


def test_a_third_contrast_of_the_same_arms_is_asked_by_name() -> None:
    asked = Contrast(name="prompt", plus={"prompt": "B"}, minus={"prompt": "A"}, family="secondary")
    result = analyse(prompts(), Settings(contrasts=(asked,)))
    assert result.contrasts.primary.reason == "no primary contrast is asked"
    (row,) = result.contrasts.secondary.rows
    assert (row.contrast, row.plus, row.minus) == ("prompt", "second", "first")
    assert row.estimate == pytest.approx(18.0)


def two_by_two(count: int = 3, plain: int = 3) -> list[ScoreRow]:
    """Two models x two methods of training: `count` seeds of the second, `plain` of the first."""
    random = np.random.default_rng(5)
    rows = []
    for model in ("llama", "qwen"):
        for training, several in (("sft", plain), ("orpo", count)):
            for seed in range(several):
                shift = random.normal(0, 3)
                rows += [
                    row(
                        f"{model}-{training}",
                        {"model": model, "training": training},
                        patient,
                        round(50 + place + shift + random.normal(0, 2)),
                        seed + 1 if several > 1 else 0,
                    )
                    for place, patient in enumerate(PATIENTS)
                ]
    return rows


def cells(rows: list[ScoreRow], arm: str) -> Any:
    own = [r for r in rows if r.arm == arm]
    known = sorted({r.seed for r in own})
    return np.array([[r.total for r in own if r.seed == seed] for seed in known], dtype=float)


def by_hand(plus: Any, minus: Any) -> tuple[float, float]:
    """Ends of the 95 % interval: mean squares of two layouts, written out."""
    n = plus.shape[1]
    difference = plus.mean(0) - minus.mean(0)
    between, df = 0.0, 0
    for side in (plus, minus):
        s = len(side)
        if s > 1:
            ms_seed = n * side.mean(1).var(ddof=1)
            rest = side - side.mean(1, keepdims=True) - side.mean(0) + side.mean()
            ms_rest = (rest**2).sum() / ((s - 1) * (n - 1))
            between += (ms_seed - ms_rest) / (n * s)
            df += s - 1
    width = difference.var(ddof=1) / n * stats.t.ppf(0.975, n - 1) ** 2
    width += max(0.0, between) * stats.t.ppf(0.975, df) ** 2
    return difference.mean() - width**0.5, difference.mean() + width**0.5


@pytest.mark.parametrize("plain", [3, 1])
def test_the_interval_is_that_of_two_variances_by_hand(plain: int) -> None:
    rows = two_by_two(plain=plain)
    trained = ("llama-orpo", "qwen-orpo", "llama-sft", "qwen-sft")
    result = analyse(rows, Settings(contrasts=(ORPO,), trained=trained))
    found = {row.label: row for row in result.contrasts.primary.rows}
    assert set(found) == {"llama", "qwen"}
    for model, shown in found.items():
        low, high = by_hand(cells(rows, f"{model}-orpo"), cells(rows, f"{model}-sft"))
        assert (shown.low, shown.high) == (pytest.approx(low), pytest.approx(high))
        assert shown.seeds == (3, plain)
        assert 0 < shown.seed_share < 1
        assert shown.method.endswith(f"3 of {model}-orpo, {plain} of {model}-sft")
        assert (shown.p < 0.05) == (low > 0 or high < 0)
        assert ("One training run" in shown.caveat) == (plain == 1)
        assert "Training seeds are a random level" in shown.caveat


def test_p_and_interval_meet_at_the_level() -> None:
    sides = [cells(two_by_two(), "llama-orpo"), cells(two_by_two(), "llama-sft")]
    found = seeds.interval(sides, 0.95)
    assert found
    ends = seeds.interval(sides, 1 - found.p)
    assert ends
    assert min(abs(ends.low), abs(ends.high)) == pytest.approx(0, abs=1e-6)


def test_a_patient_without_one_seed_is_left_out() -> None:
    rows = two_by_two()
    lost = [r for r in rows if (r.arm, r.seed, r.patient) != ("llama-orpo", 2, "p3")]
    shown = {
        row.label: row for row in analyse(lost, Settings(contrasts=(ORPO,))).contrasts.primary.rows
    }
    low, high = by_hand(
        np.delete(cells(rows, "llama-orpo"), 2, axis=1),
        np.delete(cells(rows, "llama-sft"), 2, axis=1),
    )
    assert (shown["llama"].patients, shown["qwen"].patients) == (4, 5)
    assert (shown["llama"].low, shown["llama"].high) == (
        pytest.approx(low),
        pytest.approx(high),
    )


def test_one_seed_is_as_without_any() -> None:
    once = two_by_two(count=1, plain=1)
    named = [replace(r, seed=1, session_key=f"1/{r.session_key}") for r in once]
    settings = Settings(contrasts=(ORPO,))
    one, other = (analyse(rows, settings).contrasts.primary.rows for rows in (once, named))
    assert one == other
    assert all(row.method.startswith("t on chain means") for row in one)


def test_the_record_holds_its_level_where_models_are_trained_three_times() -> None:
    methods = calibration()["methods"]
    for patients in ("5", "10", "20"):
        row = methods["3 training seeds on both sides"][patients]
        assert 0.93 <= row["coverage"] <= row["most"] <= 0.97


def test_the_simulation_says_so_again_with_fewer_studies() -> None:
    design = "3 training seeds on both sides"
    for share in seed_studies.covered(design, patients=10, between=4.0, studies=1000, seed=7):
        assert 0.93 <= share <= 0.97


def test_two_seeds_on_one_side_are_withheld_where_they_fall_short() -> None:
    assert of_seeds(2, 1) == "2 training seeds on one side"
    assert of_seeds(4, 3) == "3 training seeds on both sides"
    assert of_seeds(9, 1) == "5 training seeds on one side"
    assert calibration()["methods"]["2 training seeds on one side"]["20"]["coverage"] < 0.93
