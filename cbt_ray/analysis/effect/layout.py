"""The arms x patients layout on means of chains: estimates, error terms, t and F, and what to do
where it is unbalanced.

The sessions of a chain share their patient, their therapist and each other's summaries, so a
chain's mean is the observation and patients are the blocks. What arms and patients leave
unexplained is the error term, with (arms - 1)(patients - 1) degrees of freedom. On balanced data t
and F are exact. Where chains rest on different numbers of sessions, their distribution is computed
from the fitted variances (`fitted`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cbt_ray.count import many

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]

NO_VARIATION = 1e-12
NULL = 1e-10
"""An eigenvalue of the information below this share of the largest is zero: arms are known up to a
constant."""


@dataclass(frozen=True)
class Layout:
    """Cells of arms (rows) and patients (columns)."""

    arms: tuple[str, ...]
    patients: tuple[str, ...]
    means: Array
    """(arms, patients): mean of the chains' means; NaN where no session is rated."""
    within: float
    """Variance of a session within its chain, pooled over chains; 0 where no chain has two
    sessions."""
    share: Array
    """(arms, patients): what `within` is multiplied by in the variance of a cell: mean of
    1/sessions over chains, over chains."""
    unbalanced: str | None
    """Why t and F are not exact; None where they are."""

    @property
    def present(self) -> Array:
        """(arms, patients): is there a cell."""
        import numpy as np

        return ~np.isnan(self.means)

    @property
    def df(self) -> int:
        """Degrees of freedom of the error term."""
        present = self.present
        return int(present.sum() - present.any(axis=1).sum() - present.any(axis=0).sum() + 1)

    @property
    def evenness(self) -> float:
        """Sessions of the shortest chain over those of the longest, cell by cell.

        1 where nothing is rated.
        """
        held = self.share[self.present]
        return float(held.min() / held.max()) if len(held) else 1.0

    @cached_property
    def information(self) -> Array:
        """(arms, arms): the arms' normal matrix with patients swept out."""
        import numpy as np

        there = self.present.astype(float)
        per_patient = there.sum(axis=0)
        usable = per_patient > 0
        scaled = there[:, usable] / per_patient[usable]
        return np.asarray(np.diag(there.sum(axis=1)) - scaled @ there[:, usable].T)

    @cached_property
    def inverse(self) -> Array:
        """Generalized inverse of the information.

        Contrasts of connected arms do not depend on which.
        """
        import numpy as np

        return np.asarray(np.linalg.pinv(self.information, hermitian=True, rcond=NULL))

    def estimable(self, weights: Array) -> bool:
        """Do the cells tell this contrast of arms apart from differences between patients."""
        import numpy as np

        return bool(np.allclose(self.information @ (self.inverse @ weights), weights, atol=1e-8))

    def effects(self, cells: Array) -> Array:
        """(..., arms): least-squares arm effects of cells (..., arms, patients), up to a
        constant.
        """
        import numpy as np

        there = self.present
        filled = np.where(there, cells, 0.0)
        count = np.maximum(there.sum(axis=0), 1)
        centred = np.where(there, filled - (filled.sum(axis=-2) / count)[..., None, :], 0.0)
        return np.asarray(centred.sum(axis=-1) @ self.inverse)

    def mean_square(self, cells: Array) -> Array:
        """(...,): mean square of what arms and patients do not explain.

        NaN without degrees of freedom.
        """
        import numpy as np

        there, count = self.present, np.maximum(self.present.sum(axis=0), 1)
        rest = np.where(there, cells - self.effects(cells)[..., :, None], 0.0)
        rest = np.where(there, rest - (rest.sum(axis=-2) / count)[..., None, :], 0.0)
        if self.df < 1:
            return np.full(rest.shape[:-2], np.nan)
        return np.asarray(np.square(rest).sum(axis=(-1, -2)) / self.df)


@dataclass(frozen=True)
class ChainMeans:
    """One value per chain: which group (an arm), patient and training seed it belongs to, its mean,
    and the sessions that it rests on.
    """

    groups: tuple[str, ...]
    patients: tuple[str, ...]
    group: Array
    patient: Array
    """(chains,) codes into `groups` and `patients`."""
    seed: Array
    """(chains,) numbers of training seeds."""
    mean: Array
    count: Array
    squares: Array
    """(chains,) sum of squared deviations of the sessions from their chain's mean."""
    numbers: Array
    """(chains, 2): sums of the session numbers and of their squares, which tell whether chains rest
    on the same sessions."""

    def sessions(self, group: str) -> int:
        """How many sessions a group rests on."""
        return (
            int(self.count[self.group == self.groups.index(group)].sum())
            if group in self.groups
            else 0
        )

    def of(self, groups: Sequence[str]) -> Array:
        """(chains,): is it one of these groups."""
        import numpy as np

        return np.isin(self.group, [self.groups.index(one) for one in groups if one in self.groups])

    def seeds(self, group: str) -> int:
        """How many training seeds a group has."""
        return len(set(self.seed[self.of([group])].tolist()))


class Chains:
    """Session rows (patient, chain, session, seed) sorted into chains once, to take means of any
    column; grouped by arm, or by another column.
    """

    def __init__(self, table: pd.DataFrame, by: str = "arm") -> None:
        import numpy as np
        import pandas as pd

        self.code, first = pd.factorize(table["chain"])
        size = len(first)
        self.group, self.patient = np.zeros(size, dtype=int), np.zeros(size, dtype=int)
        self.seed = np.zeros(size, dtype=int)
        self.seed[self.code] = table["seed"].to_numpy(dtype=int)
        of_group, groups = pd.factorize(table[by])
        of_patient, patients = pd.factorize(table["patient"], sort=True)
        self.group[self.code], self.patient[self.code] = of_group, of_patient
        self.groups, self.patients = tuple(map(str, groups)), tuple(map(str, patients))
        self.session = table["session"].to_numpy(dtype=float)
        self.size = size

    def means(self, values: pd.Series[float]) -> ChainMeans:
        """Means of a column over each chain.

        Rows that are NaN do not count, nor do chains without any other.
        """
        import numpy as np

        value = values.to_numpy(dtype=float)
        there = ~np.isnan(value)
        code, value, session = self.code[there], value[there], self.session[there]
        count = np.bincount(code, minlength=self.size)
        kept = count > 0
        mean = np.bincount(code, weights=value, minlength=self.size) / np.maximum(count, 1)
        squares = np.bincount(code, weights=(value - mean[code]) ** 2, minlength=self.size)
        numbers = [
            np.bincount(code, weights=session**power, minlength=self.size)[kept] for power in (1, 2)
        ]
        own = {
            "seed": self.seed[kept],
            "mean": mean[kept],
            "count": count[kept],
            "squares": squares[kept],
            "numbers": np.column_stack(numbers),
        }
        return ChainMeans(self.groups, self.patients, self.group[kept], self.patient[kept], **own)


def layout(chains: ChainMeans, arms: Sequence[str]) -> Layout:
    """Lay out chains for the groups `arms`, in their order."""
    import numpy as np

    row_of = np.array(
        [list(arms).index(group) if group in arms else -1 for group in chains.groups], dtype=int
    )
    own = (
        np.flatnonzero(row_of[chains.group] >= 0) if len(chains.group) else np.array([], dtype=int)
    )
    row, count = row_of[chains.group[own]], chains.count[own]
    known, column = np.unique(chains.patient[own], return_inverse=True)
    patients, shape = tuple(chains.patients[i] for i in known), (len(arms), len(known))
    free = int((count - 1).sum())
    within = float(chains.squares[own].sum() / free) if free > 0 else 0.0

    def added(values: Array) -> Array:
        return np.bincount(
            row * shape[1] + column, weights=values, minlength=shape[0] * shape[1]
        ).reshape(shape)

    held = added(np.ones(len(own)))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = added(chains.mean[own]) / held
        share = np.where(held > 0, added(1.0 / count) / held**2, 0.0)
    why = _unbalanced(means, held, count, chains.numbers[own], arms, patients)
    return Layout(tuple(arms), patients, means, within, share, why)


def _unbalanced(
    means: Array,
    held: Array,
    count: Array,
    numbers: Array,
    arms: Sequence[str],
    patients: Sequence[str],
) -> str | None:
    """Balanced: every arm has every patient, every chain the same sessions, every cell as many
    chains.
    """
    import numpy as np

    for number, arm in enumerate(arms):
        absent = [patients[i] for i in np.flatnonzero(np.isnan(means[number])).tolist()]
        if absent:
            return (
                f"{arm} has no rated session with "
                f"{', '.join(absent[:3])}{', ...' if len(absent) > 3 else ''}"
            )
    if not len(count):
        return None
    if count.min() != count.max():
        return f"chains rest on {count.min()} to {many(count.max(), 'session')}"
    if (numbers != numbers[0]).any():
        return "chains rest on different sessions"
    return "patients have different numbers of chains" if held.min() != held.max() else None


def weights_of(arms: Sequence[str], plus: Sequence[str], minus: Sequence[str]) -> Array:
    """A contrast's weights: the mean of the arms `plus` less the mean of the arms `minus`."""
    import numpy as np

    weights = np.zeros(len(arms))
    for group, sign in ((plus, 1.0), (minus, -1.0)):
        for arm in group:
            weights[list(arms).index(arm)] += sign / len(group)
    return weights


def f_value(cells: Layout, table: Array) -> float:
    """F of several contrasts at once, `table` (contrasts, arms)."""
    import numpy as np

    shown = cells.effects(cells.means) @ table.T
    middle = np.linalg.inv(table @ cells.inverse @ table.T)
    return float(shown @ middle @ shown / (len(table) * cells.mean_square(cells.means)))
