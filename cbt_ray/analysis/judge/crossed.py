"""Sessions x judges: what each judge said of each session, its replicates folded into their count,
mean and mean square.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.judge.jackknife import Clusters
from cbt_ray.analysis.scores import FACTOR, Scores

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Moments:
    """One judge's scores in one column (the total or an item), one entry a session."""

    count: Array
    """(sessions,) replicates that gave a score."""
    mean: Array
    """(sessions,) their mean; NaN without any."""
    square: Array
    """(sessions,) the mean of their squares."""

    @property
    def spread(self) -> Array:
        """(sessions,) sum of squares around the session's mean; 0 where replicates agree."""
        import numpy as np

        rest = self.count * (self.square - np.square(self.mean))
        return np.where(rest > 1e-9 * np.maximum(1.0, np.abs(self.square)), rest, 0.0)


class Crossed:
    """The ratings of one view, sorted into sessions once, to fold any column of any judge."""

    def __init__(self, scores: Scores, view: str) -> None:
        import numpy as np
        import pandas as pd

        self.rows = scores.ratings[scores.ratings["view"] == view]
        self.session, known = pd.factorize(self.rows["session_key"])
        self.size = len(known)
        judge, names = pd.factorize(self.rows["judge"])
        self.judges = [str(name) for name in names]
        self.kinds = {name: scores.judges[name] for name in self.judges}
        self._of = {name: np.flatnonzero(judge == code) for code, name in enumerate(self.judges)}

    @cached_property
    def facts(self) -> pd.DataFrame:
        """One row a session, in the order of the codes: arm, seed, factors, patient, replicate,
        session, session_key.
        """
        import numpy as np

        first = np.zeros(self.size, dtype=int)
        first[self.session[::-1]] = np.arange(len(self.session))[::-1]
        names = ["session_key", "arm", "seed", "patient", "replicate", "session"]
        names += [name for name in self.rows.columns if name.startswith(FACTOR)]
        return self.rows[names].iloc[first].reset_index(drop=True)

    @cached_property
    def clusters(self) -> Clusters:
        """The chain and the arm of each session."""
        import pandas as pd

        arm = pd.factorize(self.facts["arm"])[0]
        code = arm
        for name in ("patient", "replicate", "seed"):
            own, known = pd.factorize(self.facts[name])
            code = code * max(1, len(known)) + own
        return Clusters(pd.factorize(code)[0], arm)

    def moments(self, judge: str, column: str) -> Moments:
        """Fold one column of one judge; a judge or a column that is not there has rated nothing."""
        import numpy as np

        if judge not in self._of or column not in self.rows:
            return Moments(
                np.zeros(self.size), np.full(self.size, np.nan), np.full(self.size, np.nan)
            )
        own = self._of[judge]
        value = self.rows[column].to_numpy(dtype=float)[own]
        there = ~np.isnan(value)
        code, value = self.session[own][there], value[there]
        count = np.bincount(code, minlength=self.size).astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(code, weights=value, minlength=self.size) / count
            square = np.bincount(code, weights=np.square(value), minlength=self.size) / count
        return Moments(count, mean, square)
