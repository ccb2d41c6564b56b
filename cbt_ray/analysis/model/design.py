"""The design of a mixed model: session rows as matrices, with the names of the published table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.describe import arms, levels
from cbt_ray.analysis.effect.asked import asked, differing
from cbt_ray.analysis.model import nested
from cbt_ray.analysis.scores import FACTOR
from cbt_ray.analysis.settings import Settings
from cbt_ray.count import many

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]

SESSION = "session_z"
"""The session number as a z-score over all fitted rows (ddof 1)."""


def factors_of(table: pd.DataFrame) -> list[str]:
    """The factors of session rows."""
    return [name.removeprefix(FACTOR) for name in table.columns if name.startswith(FACTOR)]


def term(name: str) -> str:
    """How formulas call a factor, or the session number."""
    return name if name == SESSION else f"C({name})"


def design(rated: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The columns that formulas use: `factor:*`, session_z (the number as z-score), total, patient,
    chain, words.

    The first category of a factor is its reference level: the first contrast's `plus`, as
    published, else by name.
    """
    import pandas as pd

    frame = rated[["total", "patient", "chain", "words"]].copy()
    first = reference(rated, settings)
    for name in factors_of(rated):
        known = rated[FACTOR + name].astype(str)
        levels = sorted(known.unique(), key=lambda level: (level != first.get(name), level))
        frame[FACTOR + name] = pd.Categorical(known, categories=levels)
    session = rated["session"].astype(float)
    frame["session_z"] = (session - session.mean()) / session.std(ddof=1)
    return frame


def reference(rated: pd.DataFrame, settings: Settings) -> dict[str, str]:
    """Factor -> the level of the first contrast's `plus`, of the factors that it compares."""
    known = asked(levels(arms(rated, settings)), settings)
    return {name: known[0].plus[name] for name in differing(known[0])} if known else {}


def fixed(frame: pd.DataFrame, terms: Sequence[str]) -> dict[str, Array]:
    """Name -> column: the intercept, factors in treatment coding, the session number."""
    import numpy as np

    columns = {"Intercept": np.ones(len(frame))}
    for name in terms:
        if name == SESSION:
            columns[name] = frame[name].to_numpy(dtype=float)
            continue
        values = frame[FACTOR + name]
        for level in values.cat.categories[1:]:
            columns[f"{term(name)}[T.{level}]"] = (values == level).to_numpy(dtype=float)
    return columns


def unfit(frame: pd.DataFrame, matrix: Array) -> str | None:
    """Why this design cannot be fitted; None where it can."""
    import numpy as np

    rows, columns = matrix.shape
    patients = frame["patient"].nunique()
    if patients < 2:
        return f"a random intercept per patient needs 2 patients or more, found {patients}"
    if np.linalg.matrix_rank(matrix) < columns:
        return (
            "factors are confounded: no session tells their effects apart (the design has not "
            "full rank)"
        )
    if rows <= columns + 2:
        return (
            f"expected more than {many(rows, 'rated session')} for {many(columns + 2, 'parameter')}"
        )
    if np.ptp(frame["total"]) == 0:
        return "all totals are equal: there is no variation to explain"
    rest = frame["total"] - matrix @ np.linalg.lstsq(matrix, frame["total"], rcond=None)[0]
    if float(np.square(rest).sum()) < 1e-9 * max(1.0, float(np.square(frame["total"]).sum())):
        return "the factors explain the totals entirely: there is no residual variation"
    return None


class Prepared:
    """Session rows as matrices: fixed effects by name, codes of patients and chains."""

    def __init__(self, rated: pd.DataFrame, settings: Settings, *, words: bool = False) -> None:
        import pandas as pd

        self.frame = design(rated, settings)
        self.y = self.frame["total"].to_numpy(dtype=float)
        self.patient, patients = pd.factorize(self.frame["patient"])
        self.chain, chains = pd.factorize(self.frame["chain"])
        self.patients, self.chains = len(patients), len(chains)
        self.columns = self._columns(words=words)

    def _columns(self, *, words: bool) -> dict[str, Array]:
        """Name -> column.

        Factors in treatment coding, so that names are those of the published table.
        """
        factors = factors_of(self.frame)
        columns = fixed(self.frame, factors)
        main = [
            {name: column for name, column in columns.items() if name.startswith(f"{term(one)}[")}
            for one in factors
        ]
        columns |= dict(_products(main))
        columns = told_apart(columns, self.frame)
        if self.frame[SESSION].notna().all():
            columns |= {SESSION: fixed(self.frame, [SESSION])[SESSION]}
        if words:
            count = self.frame["words"].to_numpy(dtype=float)
            columns["words_z"] = (count - count.mean()) / count.std(ddof=1)
        return columns

    def matrix(self, names: Sequence[str] | None = None) -> Array:
        """(sessions, k) of the named columns, or of all."""
        import numpy as np

        return np.column_stack([self.columns[name] for name in (names or self.columns)])

    def sums(
        self, names: Sequence[str] | None = None, *, chains: bool = True, y: Array | None = None
    ) -> nested.Sums:
        """What the likelihood needs."""
        named = list(names or self.columns)
        matrix, response = self.matrix(named), self.y if y is None else y
        return nested.sums(matrix, response, named, self.patient, self.chain if chains else None)


def _products(main: Sequence[Mapping[str, Array]]) -> Iterator[tuple[str, Array]]:
    """Interactions: name -> column, of two factors first."""
    import numpy as np

    for size in range(2, len(main) + 1):
        for factors in combinations(main, size):
            for own in product(*(factor.items() for factor in factors)):
                column = np.prod([one for _, one in own], axis=0)
                if column.any():
                    yield ":".join(name for name, _ in own), column


def told_apart(columns: Mapping[str, Array], frame: pd.DataFrame) -> dict[str, Array]:
    """The columns without those that say nothing new of the arms, as where two factors go together
    in all of them.
    """
    import numpy as np

    factors = [FACTOR + name for name in factors_of(frame)]
    first = ~frame[factors].duplicated().to_numpy() if factors else np.arange(len(frame)) < 1
    kept: dict[str, Array] = {}
    for name, column in columns.items():
        table = np.column_stack([*(one[first] for one in kept.values()), column[first]])
        if np.linalg.matrix_rank(table) > len(kept):
            kept[name] = column
    return kept


def difference(
    columns: Sequence[str], plus: Mapping[str, str], minus: Mapping[str, str]
) -> list[float]:
    """A contrast of two arms, by their levels, as weights of the model's columns.

    The factors' order is that of the columns.
    """
    main = dict.fromkeys(name for name in columns if ":" not in name)
    ends = []
    for own in (plus, minus):
        levels = {f"{term(factor)}[T.{level}]" for factor, level in own.items()}
        names = [name for name in main if name in levels]
        there = {
            ":".join(part)
            for size in range(1, len(names) + 1)
            for part in combinations(names, size)
        }
        ends.append([float(name in there) for name in columns])
    return [a - b for a, b in zip(*ends, strict=True)]
