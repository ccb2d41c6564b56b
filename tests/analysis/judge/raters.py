"""Made-up ratings by several judges, for tests."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cbt_ray.analysis import ScoreRow, Scores
from cbt_ray.analysis.judge.crossed import Moments
from cbt_ray.analysis.judge.jackknife import Clusters
from tests.analysis.tables import made_up

SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]],
    dtype=float,
)
"""Six targets by four judges: Shrout & Fleiss 1979, table 2."""
Score = Callable[[ScoreRow, str], float]


def judged(rows: list[ScoreRow], judge: str, kind: str, score: Score) -> list[ScoreRow]:
    """The same sessions as another judge scored them."""
    found = []
    for row in rows:
        items = {item: int(score(row, item)) for item in row.items}
        found.append(
            replace(row, judge=judge, kind=kind, items=dict(items), total=sum(items.values()))
        )
    return found


def drawn(seed: int, kinder: float = 0.0, noise: float = 1.0) -> Score:
    """A worth of each session and item, which all such judges share, with noise of the judge's
    own.
    """
    own = np.random.default_rng(seed)

    def score(row: ScoreRow, item: str) -> float:
        shared = np.random.default_rng([len(item), row.session, *row.session_key.encode()]).normal(
            5 + (row.factors["variant"] == "tuned"), 1.5
        )
        return float(np.clip(round(shared + kinder + own.normal(0, noise)), 1, 10))

    return score


def crowd(
    patients: int = 5,
    sessions: int = 6,
    replicates: int = 2,
    *,
    human: bool = True,
    judges: int = 2,
    models: tuple[str, ...] = ("a",),
) -> Scores:
    """Model judges `judge`, `judge2`, ...

    with replicates, and a person who rated sessions 1 and 2 of each chain once.
    """
    names = tuple(f"p{number}" for number in range(patients))
    rows = made_up(patients=names, sessions=sessions, replicates=replicates, models=models)
    found = []
    for number in range(1, judges + 1):
        found += judged(
            rows,
            "judge" if number == 1 else f"judge{number}",
            "model",
            drawn(number, kinder=number - 1),
        )
    if human:
        found += judged(
            [row for row in rows if row.session < 3 and row.judge_replicate == 1],
            "ann",
            "human",
            drawn(99, kinder=1),
        )
    return Scores.of(found)


def folded(ratings: list[list[float]]) -> Moments:
    """Of each session's replicates."""
    nan = float("nan")
    return Moments(
        np.array([float(len(own)) for own in ratings]),
        np.array([np.mean(own) if own else nan for own in ratings]),
        np.array([np.mean(np.square(own)) if own else nan for own in ratings]),
    )


def alone(sessions: int) -> Clusters:
    """Each session a chain of its own, all of one arm."""
    return Clusters(np.arange(sessions), np.zeros(sessions, dtype=int))


DEGENERATE: dict[str, Scores] = {
    "no rows": Scores.of([]),
    "one rating": crowd(1, 1, 1, human=False, judges=1),
    "one judge, once": crowd(replicates=1, human=False, judges=1),
    "one patient": crowd(patients=1),
    "one session a chain": crowd(sessions=1),
    "constant": Scores.of(made_up(lambda key, item: 4, replicates=2)),
    "all unrated": Scores.of(made_up(reason=lambda key: "owed")),
    "an item missing": Scores.of(
        [
            replace(row, items=row.items | {"agenda": None}, total=None)
            for row in made_up(replicates=2)
        ]
    ),
    "one item": Scores.of([replace(row, items={"agenda": 3}, total=3) for row in made_up()]),
}
