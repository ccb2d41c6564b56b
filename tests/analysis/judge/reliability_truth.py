"""Simulated ratings with known truth: what the intervals of `reliability` and `scale` cover, and
how often tests are wrong.

`python -m tests.analysis.judge.reliability_truth` prints the tables of docs/statistics.md (2,000
studies a cell, some minutes on one core). The tests run the same functions with fewer studies. Arms
differ as published (means 68 to 47). Variances of a total between the chains of an arm, and between
the sessions of a chain, are as published (6.5 and 101), or 50 and 50.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import stats

from cbt_ray.analysis.effect.friedman import friedman
from cbt_ray.analysis.effect.ranks import Superiority, superiority
from cbt_ray.analysis.effect.signed_ranks import HodgesLehmann, flips, hodges_lehmann
from cbt_ray.analysis.estimate import Estimate, Span
from cbt_ray.analysis.judge import kappa
from cbt_ray.analysis.judge.agreement import limits
from cbt_ray.analysis.judge.crossed import Moments
from cbt_ray.analysis.judge.icc import columns, generalized, one_way, two_way
from cbt_ray.analysis.judge.jackknife import Clusters
from cbt_ray.analysis.judge.judges import mean
from cbt_ray.analysis.judge.kappa import Kappa
from cbt_ray.analysis.scale.consistency import consistency

MEANS = np.array([68.0, 64.0, 64.0, 60.0, 55.0, 47.0])
SESSIONS, LEVEL, ITEMS = 20, 0.95, 11
PUBLISHED, CHAINS_DIFFER = (6.5, 101.0), (50.0, 50.0)
Random = np.random.Generator
Found = Estimate | Span | HodgesLehmann | Superiority | None
DESIGNS = {
    "6 arms x 5 patients": (6, 5, PUBLISHED),
    "6 arms x 20 patients": (6, 20, PUBLISHED),
    "6 arms x 2 patients": (6, 2, PUBLISHED),
    "2 arms x 3 patients": (2, 3, PUBLISHED),
    "2 arms x 5 patients": (2, 5, PUBLISHED),
    "2 arms x 10 patients": (2, 10, PUBLISHED),
    "6 arms x 5, chains differ": (6, 5, CHAINS_DIFFER),
    "2 arms x 5, chains differ": (2, 5, CHAINS_DIFFER),
    "2 arms x 20, chains differ": (2, 20, CHAINS_DIFFER),
}


def worth(
    random: Random, arms: int, patients: int, variances: tuple[float, float]
) -> tuple[Any, Any]:
    """(sessions,) what each session is worth, and where it belongs."""
    shape = (arms, patients, SESSIONS)
    noise = (
        random.standard_normal((*shape[:2], 1)) * variances[0] ** 0.5
        + random.standard_normal(shape) * variances[1] ** 0.5
    )
    return (MEANS[:arms, None, None] + noise).ravel(), _clusters(arms, patients)


def _clusters(arms: int, patients: int) -> Clusters:
    chain = np.repeat(np.arange(arms * patients), SESSIONS)
    return Clusters(chain, chain // patients)


def variance_of_worth(arms: int, variances: tuple[float, float]) -> float:
    return float(np.var(MEANS[:arms]) + sum(variances))


def moments(ratings: Any) -> Moments:
    """Of (sessions, replicates) without gaps."""
    return Moments(
        np.full(len(ratings), float(ratings.shape[1])),
        ratings.mean(axis=1),
        np.square(ratings).mean(axis=1),
    )


def covers(found: Found, truth: float) -> bool:
    assert found is not None
    assert found.low is not None, found
    assert found.high is not None, found
    return bool(found.low <= truth <= found.high)


ERROR, REPLICATES = 40.0, 3
JUDGES, BIAS = (30.0, 60.0), 3.0


def repeatability(
    random: Random, arms: int, patients: int, variances: tuple[float, float]
) -> dict[str, bool]:
    """One judge, three replicates."""
    value, clusters = worth(random, arms, patients, variances)
    ratings = value[:, None] + random.standard_normal((len(value), REPLICATES)) * ERROR**0.5
    found, signal = one_way(moments(ratings), clusters, LEVEL), variance_of_worth(arms, variances)
    truth = signal / (signal + ERROR)
    return {
        "ICC(1,1)": covers(found.single, truth),
        "ICC(1,k)": covers(found.average, signal / (signal + ERROR / REPLICATES)),
        "SD within a session": covers(found.within_session_sd, ERROR**0.5),
        "ICC(1,1) by F": covers(found.independent, truth),
    }


def two_judges(
    random: Random, arms: int, patients: int, variances: tuple[float, float]
) -> dict[str, bool]:
    """Two fixed judges that differ by three points and in their errors, over two sessions of each
    chain.
    """
    value, clusters = worth(random, arms, patients, variances)
    chosen = np.arange(len(value)) % (SESSIONS // 2) == 0
    value, clusters = value[chosen], clusters.of(chosen)
    table = value[:, None] + random.standard_normal((len(value), 2)) * np.sqrt(JUDGES)
    table[:, 0] += BIAS + random.standard_normal(clusters.count)[clusters.chain]
    found, signal = two_way(table, clusters, LEVEL), variance_of_worth(arms, variances)
    errors = (sum(JUDGES) + 1) / 2
    difference = table[:, 0] - table[:, 1]
    spread = (sum(JUDGES) + 1) ** 0.5
    agreed = limits(difference, clusters, LEVEL)
    return {
        "ICC(2,1), two judges": covers(found.icc2_1, signal / (signal + errors + BIAS**2 / 2)),
        "ICC(3,1), two judges": covers(found.icc3_1, signal / (signal + errors)),
        "bias": covers(mean(difference, clusters, LEVEL), BIAS),
        "upper limit of agreement": covers(agreed.upper, BIAS + 1.959964 * spread),
        "lower limit of agreement": covers(agreed.lower, BIAS - 1.959964 * spread),
    }


def items(
    random: Random, arms: int, patients: int, variances: tuple[float, float]
) -> dict[str, bool]:
    """Eleven items whose truths are one value, with errors of their own."""
    value, clusters = worth(random, arms, patients, variances)
    error = 4.0
    table = (value / ITEMS)[:, None] + random.standard_normal((len(value), ITEMS)) * error**0.5
    found, signal = (
        consistency(table, clusters, [], LEVEL),
        variance_of_worth(arms, variances) / ITEMS**2,
    )
    means = clusters.sums(table)
    of_means = consistency(
        means.values / SESSIONS, Clusters(np.arange(len(means.arm)), means.arm), [], LEVEL
    )
    of_chains = variance_of_worth(arms, (variances[0], variances[1] / SESSIONS)) / ITEMS**2
    return {
        "alpha": covers(found.alpha, ITEMS * signal / (ITEMS * signal + error)),
        "alpha by Feldt": covers(found.feldt, ITEMS * signal / (ITEMS * signal + error)),
        "alpha of chain means": covers(
            of_means.alpha, ITEMS * of_chains / (ITEMS * of_chains + error / SESSIONS)
        ),
        "the same by Feldt": covers(
            of_means.feldt, ITEMS * of_chains / (ITEMS * of_chains + error / SESSIONS)
        ),
    }


def ordinal(
    random: Random, arms: int, patients: int, variances: tuple[float, float]
) -> dict[str, Kappa]:
    """An item from 1 to 7 by two judges, one of whom is kinder: kappa between them, and between two
    replicates of the first.
    """
    value, clusters = worth(random, arms, patients, variances)
    seen = (
        value[:, None] / ITEMS + random.standard_normal((len(value), 3)) + np.array([0.0, 0.0, 0.5])
    )
    given = np.clip(np.round(seen), 1, 7)
    one, other = moments(given[:, :2]), moments(given[:, 2:])
    return {
        "kappa": kappa.between(one, other, clusters, LEVEL),
        "kappa of replicates": kappa.within(one, clusters, LEVEL),
    }


def kappas(
    random: Random, arms: int, patients: int, variances: tuple[float, float]
) -> dict[str, bool]:
    truth = true_kappas(arms, variances)
    found = ordinal(random, arms, patients, variances)
    return {name: covers(found[name], truth[name]) for name in found}


_TRUTH: dict[Any, dict[str, float]] = {}


def true_kappas(arms: int, variances: tuple[float, float]) -> dict[str, float]:
    """From one very large study."""
    if (arms, variances) not in _TRUTH:
        found = ordinal(np.random.default_rng(99), arms, 60_000 // arms, variances)
        _TRUTH[arms, variances] = {name: float(one.value) for name, one in found.items()}
    return _TRUTH[arms, variances]


def random_judges(
    random: Random,
    judges: int,
    sessions: int = 200,
    variances: tuple[float, float, float] = (1.0, 0.2, 0.5),
) -> dict[str, bool]:
    """Judges drawn at random, sessions independent: the generalized interval, and McGraw &
    Wong's.
    """
    of_session, of_judge, error = np.sqrt(variances)
    table = (
        random.standard_normal((sessions, 1)) * of_session
        + random.standard_normal((1, judges)) * of_judge
    )
    table = table + random.standard_normal((sessions, judges)) * error
    truth = variances[0] / sum(variances)
    found = generalized(columns(table).sum(axis=0), LEVEL)
    return {
        f"ICC(2,1), {judges} random judges": covers(found, truth),
        f"by McGraw & Wong, {judges} judges": covers(mcgraw_wong(table), truth),
    }


def mcgraw_wong(table: Any, level: float = LEVEL) -> Estimate:
    """ICC(A,1) of McGraw & Wong 1996 (Psychol. Methods 1:30-46, table 7)."""
    (n, k), grand = table.shape, table.mean()
    rows, raters = k * table.mean(axis=1).var(ddof=1), n * table.mean(axis=0).var(ddof=1)
    rest = np.square(
        table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + grand
    ).sum() / ((n - 1) * (k - 1))
    icc = (rows - rest) / (rows + (k - 1) * rest + k * (raters - rest) / n)
    a, b = k * icc / (n * (1 - icc)), 1 + k * icc * (n - 1) / (n * (1 - icc))
    v = (a * raters + b * rest) ** 2 / (
        (a * raters) ** 2 / (k - 1) + (b * rest) ** 2 / ((n - 1) * (k - 1))
    )
    upper, lower = stats.f.ppf(0.5 + level / 2, n - 1, v), stats.f.ppf(0.5 + level / 2, v, n - 1)
    pooled = k * raters + (k * n - k - n) * rest
    return Estimate(
        icc,
        n * (rows - upper * rest) / (upper * pooled + n * rows),
        n * (lower * rows - rest) / (pooled + n * lower * rows),
    )


WITHIN = np.array([48.2, 108.1])


def superior(random: Random, patients: int, difference: float = 8.0) -> dict[str, bool]:
    """Probability of superiority of a tuned over an instruct arm, whose chains differ as
    published.
    """
    import pandas as pd

    chains = (
        random.standard_normal((2, patients, 1)) * PUBLISHED[0] ** 0.5
        + np.array([difference, 0.0])[:, None, None]
    )
    totals = np.round(
        60
        + chains
        + random.standard_normal((2, patients, SESSIONS)) * np.sqrt(WITHIN)[:, None, None]
    )
    arm, patient, _ = np.indices(totals.shape)
    frame = pd.DataFrame(
        {
            "arm": np.array(["t", "c"])[arm.ravel()],
            "patient": patient.ravel(),
            "total": totals.ravel(),
        }
    )
    truth = stats.norm.cdf(difference / (WITHIN.sum() + 2 * PUBLISHED[0] + 1 / 6) ** 0.5)
    return {"probability of superiority": covers(superiority(frame, "t", "c", LEVEL), float(truth))}


def differences(random: Random, patients: int) -> dict[str, bool]:
    """Patients' differences without an effect, with long tails (t with 3 degrees of freedom)."""
    value = random.standard_t(3, patients)
    found = hodges_lehmann(value, LEVEL)
    tested = flips(value)
    rejected = {
        "signed ranks reject": tested.p <= 0.05,
        "sign flips reject": tested.p_differences <= 0.05,
    }
    return ({"Hodges-Lehmann": covers(found, 0.0)} if found.low is not None else {}) | rejected


def no_arms(random: Random, patients: int) -> dict[str, bool]:
    cells = random.standard_normal((6, patients)) + random.standard_normal(patients)
    return {"Friedman rejects": friedman(cells).p <= 0.05}


def share(
    of: Callable[..., Mapping[str, bool]], studies: int, *design: Any, seed: int = 1
) -> dict[str, float]:
    """How often each statement was true."""
    random = np.random.default_rng(seed)
    found = [of(random, *design) for _ in range(studies)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def main(studies: int) -> None:
    for title, design in DESIGNS.items():
        for one in (repeatability, two_judges, items, kappas):
            _say(title, share(one, studies, *design))
    for judges in (2, 3, 5, 10):
        _say(f"{judges} judges", share(random_judges, studies, judges))
        _say(
            f"{judges} judges, differ much",
            share(random_judges, studies, judges, 200, (1.0, 1.0, 0.5)),
        )
    for patients in (5, 10, 20):
        row = share(superior, studies, patients) | share(differences, studies, patients)
        _say(f"{patients} patients", row | share(no_arms, studies // 4, patients))


def _say(title: str, row: Mapping[str, float]) -> None:
    for name, value in row.items():
        sys.stdout.write(f"{title:<28} {name:<34} {value:.1%}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
