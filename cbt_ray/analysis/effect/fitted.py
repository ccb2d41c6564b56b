"""t and F on a layout that is not balanced: their distribution under its fitted variances, computed
and not drawn.

It is the law that a parametric bootstrap of the pivot draws from (Davison & Hinkley 1997, Bootstrap
Methods, section 2.4). F >= f says that a quadratic form in normal cells is positive: sum of squares
of the contrasts - (q f / df) rest >= 0. Patients are independent, so the characteristic function of
the form is a product over them, and its inversion gives the tail (Imhof 1961, Biometrika
48:419-426) to nine digits. No seed, no draws: the same data print the same digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from cbt_ray.analysis.effect.layout import Layout

    Array = np.ndarray[Any, np.dtype[Any]]

LOWEST, HIGHEST = -32.0, 44.0
"""Ends of the integral over log u; beyond them its integrand is below 1e-13."""
STEP = 0.2
AT_ONCE = 2_000_000
"""Numbers held in memory at once."""


@dataclass(frozen=True)
class Law:
    """The law of F for contrasts `table` (q, arms) that are all zero.

    Of t squared where there is one.
    """

    contrasts: int
    df: int
    numerator: Array
    """(arms, arms): the contrasts' sum of squares, as a form in the sums over patients."""
    inverse: Array
    """(arms, arms): what those sums take from the rest."""
    values: Array
    """(kinds, arms): eigenvalues of what a patient adds, relative to their mean."""
    outer: Array
    """(kinds * arms, arms * arms): each eigenvector times itself."""
    count: Array
    """(kinds,) patients alike: with the same cells on the same numbers of sessions."""

    def tail(self, f: float) -> float:
        """P(F >= f)."""
        import numpy as np

        share = self.contrasts * f / self.df
        # Patients beside each other narrow the strip in which the integrand is analytic, so many
        # need a finer grid.
        step = STEP / (1 + float((self.count[:, None] * (self.values > 0)).sum()) / 20) ** 0.5
        u = np.exp(np.arange(LOWEST, HIGHEST, step))
        size = max(1, AT_ONCE // self.values.size)
        parts = [self._patients(u[at : at + size], share) for at in range(0, len(u), size)]
        logarithm, sums = (
            np.concatenate([one for one, _ in parts]),
            np.concatenate([other for _, other in parts]),
        )
        form = self.numerator + share * self.inverse
        determinant = np.linalg.det(np.eye(len(form)) - 2j * u[:, None, None] * (form @ sums))
        phase = logarithm.imag - 0.5 * np.unwrap(np.angle(determinant))
        size_ = logarithm.real - 0.5 * np.log(np.abs(determinant))
        return float(min(1.0, max(0.0, 0.5 + step / np.pi * (np.exp(size_) * np.sin(phase)).sum())))

    def _patients(self, u: Array, share: float) -> tuple[Array, Array]:
        """At each u: log of the patients' product, and the covariance (arms, arms) that their sums
        have beside it.
        """
        import numpy as np

        factor = 1 + 2j * share * u[:, None, None] * self.values
        logarithm = -0.5 * (self.count[:, None] * np.log(factor)).sum(axis=(1, 2))
        weights = (self.count[:, None] * self.values / factor).reshape(len(u), -1)
        arms = len(self.inverse)
        return logarithm, (weights @ self.outer).reshape(-1, arms, arms)

    def critical(self, level: float) -> float:
        """The f that is exceeded in (1 - level) of the studies, to nine digits."""
        low, high = 0.0, 4.0
        while self.tail(high) > 1 - level:
            low, high = high, 4 * high
        from scipy.optimize import brentq

        return float(brentq(lambda f: self.tail(f) - (1 - level), low, high, xtol=1e-9, rtol=1e-10))


def law(cells: Layout, table: Array) -> Law:
    """Of a layout with degrees of freedom and contrasts that it can estimate.

    A cell varies by what differs between chains, estimated by moments and at least zero, and by
    `within` over its sessions.
    """
    import numpy as np

    there = cells.present
    between = max(
        0.0, float(cells.mean_square(cells.means)) - cells.within * float(cells.share[there].mean())
    )
    variance = np.where(there, between + cells.within * cells.share, -1.0)
    kinds, count = np.unique(variance[:, there.any(axis=0)].T, axis=0, return_counts=True)
    held = (kinds >= 0).astype(float)
    centre = (
        np.apply_along_axis(np.diag, 1, held)
        - held[:, :, None] * held[:, None, :] / held.sum(axis=1)[:, None, None]
    )
    values, vectors = np.linalg.eigh(centre @ (np.maximum(kinds, 0)[:, :, None] * centre))
    values = np.where(values > 1e-12 * values.max(), values, 0.0)
    unit = float(
        (count[:, None] * values).sum() / max(1, int((count[:, None] * (values > 0)).sum()))
    )
    middle = np.linalg.inv(table @ cells.inverse @ table.T)
    return Law(
        contrasts=len(table),
        df=cells.df,
        numerator=cells.inverse @ table.T @ middle @ table @ cells.inverse,
        inverse=cells.inverse,
        values=values / unit,
        outer=np.einsum("kip,kjp->kpij", vectors, vectors).reshape(-1, len(cells.arms) ** 2),
        count=count,
    )
