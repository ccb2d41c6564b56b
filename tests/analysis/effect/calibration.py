"""Simulated studies with known truth: what an interval covers, how often a contrast that is zero is
called different.

`make simulations` writes cbt_ray/analysis/effect/calibration.json (4,000 studies a cell,
about ten minutes on one core) and prints the tables of
docs/statistics.md. The tests run the same functions with fewer studies. An argument that is part of
a method's name makes those anew and keeps the others.

The variances are those of the published scores (arXiv 2412.00251; 593 totals): between patients,
between the chains of a patient, and between the sessions of a chain, the last for each of the six
arms. Three contrasts, tuned - instruct per model; all are zero.
"""

import json
import sys
from typing import Any

import numpy as np
from scipy import special

from cbt_ray.analysis.effect.calibration import FILE
from cbt_ray.analysis.effect.contrast import FITTED
from cbt_ray.analysis.effect.fitted import law
from cbt_ray.analysis.effect.layout import Layout
from cbt_ray.analysis.model import nested
from tests.analysis.effect import seed_studies

PATIENT, CHAIN = 0.38, 6.09
WITHIN = np.array([48.2, 108.1, 88.6, 181.5, 86.9, 99.9])
"""Llama, Mistral and Qwen; tuned, then instruct."""
ARMS = ("a tuned", "a instruct", "b tuned", "b instruct", "c tuned", "c instruct")
SESSIONS, LEVEL, FEWEST = 20, 0.95, 10
PATIENTS = (2, 3, 5, 10, 20)
WEIGHTS = np.array([1.0, -1.0])
Truth = np.random.Generator


def sizes(random: Truth, patients: int) -> Any:
    """(arms, patients) sessions of each chain: any number from half of them to all."""
    return random.integers(FEWEST, SESSIONS + 1, (len(ARMS), patients))


def cells(random: Truth, patients: int, count: Any) -> Any:
    """(arms, patients) chain means of one study without effects."""
    noise = CHAIN + WITHIN[:, None] / count
    return random.standard_normal(patients) * PATIENT**0.5 + random.standard_normal(
        noise.shape
    ) * np.sqrt(noise)


def by_t(random: Truth, patients: int) -> list[float]:
    """|t| over its critical value for each contrast, on balanced data.

    Above 1 the interval misses the truth.
    """
    means = cells(random, patients, np.full((6, patients), SESSIONS))
    return [_ratio(means[2 * m] - means[2 * m + 1], patients - 1) for m in range(3)]


def _ratio(differences: Any, df: int) -> float:
    se = differences.std(ddof=1) / len(differences) ** 0.5
    return float(abs(differences.mean()) / se / special.stdtrit(df, 0.5 + LEVEL / 2))


def by_pooled_t(random: Truth, patients: int) -> list[float]:
    """The same with the error term of all six arms."""
    means = cells(random, patients, np.full((6, patients), SESSIONS))
    rest = means - means.mean(0) - means.mean(1, keepdims=True) + means.mean()
    df = 5 * (patients - 1)
    se = (np.square(rest).sum() / df * 2 / patients) ** 0.5
    critical = special.stdtrit(df, 0.5 + LEVEL / 2)
    return [float(abs((means[2 * m] - means[2 * m + 1]).mean()) / se / critical) for m in range(3)]


def by_fitted_variances(random: Truth, patients: int) -> list[float]:
    """The same by fitted variances, where chains rest on 10 to 20 sessions, of p: the interval
    misses where p is below 0.05, and to find its end takes ten times as long.
    """
    count = sizes(random, patients)
    means = cells(random, patients, count)
    found = []
    for m in range(3):
        pair = slice(2 * m, 2 * m + 2)
        within = float((WITHIN[pair, None] * (count[pair] - 1)).sum() / (count[pair] - 1).sum())
        within *= random.chisquare((count[pair] - 1).sum()) / (count[pair] - 1).sum()
        names = tuple(map(str, range(patients)))
        layout = Layout(("t", "c"), names, means[pair], within, 1 / count[pair], "lost sessions")
        square = float(layout.mean_square(layout.means))
        f = float(layout.effects(layout.means) @ WEIGHTS) ** 2 / (
            square * float(WEIGHTS @ layout.inverse @ WEIGHTS)
        )
        found.append((1 - LEVEL) / law(layout, WEIGHTS[None]).tail(f))
    return found


def _sessions(random: Truth, patients: int) -> Any:
    """(arms, patients, sessions) totals of one study."""
    chains = cells(random, patients, np.full((6, patients), np.inf))
    return (
        chains[..., None]
        + random.standard_normal((6, patients, SESSIONS)) * np.sqrt(WITHIN)[:, None, None]
    )


def by_published_model(random: Truth, patients: int) -> list[float]:
    """total ~ model + variant + session + (1 | patient) by maximum likelihood: sessions as
    independent, z for the variant.
    """
    totals = _sessions(random, patients)
    arm, patient, session = (axis.ravel() for axis in np.indices(totals.shape))
    number = (session - session.mean()) / session.std(ddof=1)
    design = np.column_stack(
        [np.ones(arm.size), arm // 2 == 1, arm // 2 == 2, arm % 2 == 1, number]
    ).astype(float)
    data = nested.sums(design, totals.ravel(), "1bcvs", patient, None)
    fit = nested.fit(data, reml=False, ladder=False)
    assert fit is not None
    return [
        float(abs(fit.estimates[3]) / fit.covariance[3, 3] ** 0.5 / special.ndtri(0.5 + LEVEL / 2))
    ]


def by_percentile_bootstrap(random: Truth, patients: int, draws: int = 999) -> list[float]:
    """Patients drawn with replacement; 2 where the percentile interval misses zero, else 0."""
    means = cells(random, patients, np.full((6, patients), SESSIONS))
    drawn = random.integers(patients, size=(draws, patients))
    found = []
    for m in range(3):
        low, high = np.quantile(
            (means[2 * m] - means[2 * m + 1])[drawn].mean(1), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]
        )
        found.append(0.0 if low <= 0 <= high else 2.0)
    return found


METHODS = {
    "t": by_t,
    FITTED: by_fitted_variances,
    "pooled": by_pooled_t,
    "published": by_published_model,
    "percentile": by_percentile_bootstrap,
}


def coverage(method: str, patients: int, studies: int, seed: int) -> list[float]:
    """Share of intervals that hold the truth, per contrast.

    The truth is zero, so the rest is the type-I error.
    """
    random = np.random.default_rng([seed, patients, list(METHODS).index(method)])
    ratios = np.array([METHODS[method](random, patients) for _ in range(studies)])
    return [float(share) for share in (ratios <= 1).mean(axis=0)]


def worst(shares: list[float]) -> float:
    """The contrast whose coverage is farthest from the level."""
    return max(shares, key=lambda share: abs(share - LEVEL))


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(part: str = "", studies: int = 4000, seed: int = 20241130) -> None:
    """Simulate all methods whose name has this part, and write the file."""
    methods: dict[str, Any] = json.loads(FILE.read_text())["methods"] if part else {}
    for method in (name for name in METHODS if part in name):
        for patients in PATIENTS:
            shares = coverage(method, patients, studies, seed)
            row = {"coverage": worst(shares), "type_1": 1 - worst(shares), "contrasts": shares}
            methods.setdefault(method, {})[str(patients)] = row
            say(f"{method} {patients} {[f'{share:.3f}' for share in shares]}")
    for design in (name for name in seed_studies.DESIGNS if part in name):
        for patients in seed_studies.PATIENTS:
            row = seed_studies.coverage(design, patients, studies, seed)
            methods.setdefault(design, {})[str(patients)] = row
            say(f"{design} {patients} {row['coverage']:.3f} to {row['most']:.3f}")
    how = {
        "studies": studies,
        "seed": seed,
        "sessions": SESSIONS,
        "level": LEVEL,
        "fewest": FEWEST,
    }
    variances: dict[str, Any] = {"patient": PATIENT, "chain": CHAIN, "session": WITHIN.tolist()}
    variances["seed"] = list(seed_studies.SEEDS)
    least = dict.fromkeys((FITTED, *seed_studies.DESIGNS), FEWEST / SESSIONS)
    document = {
        "simulated": how,
        "variances": variances,
        "least_evenness": least,
        "methods": methods,
    }
    FILE.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:2])
