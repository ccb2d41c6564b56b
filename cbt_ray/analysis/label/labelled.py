"""What replies named, and what the generator named of the same cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.scores import OWED

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

ABSENT = (OWED, "absent")
"""Reasons that say nothing about the therapist: there is no reply yet, or nobody has it."""


@dataclass(frozen=True)
class Labelled:
    """What one reply named, and what the generator named of the same case."""

    session: str
    """Its key as text."""
    arm: str
    factors: Mapping[str, str]
    patient: str
    """The case."""
    persona: str
    """Whose cases are one cluster."""
    seed: int
    """Of training, by its number."""
    replicate: int
    named: frozenset[str]
    reference: frozenset[str]
    reason: str | None = None
    """Why nothing was named: how the reply missed its form, `none_named`, why the session was not
    held; None where something was."""

    @property
    def counts(self) -> bool:
        """Whether there is a reply, or the therapist failed to give one."""
        return bool(self.named) or self.reason not in ABSENT


@dataclass(frozen=True)
class Replies:
    """The replies of one arm that count."""

    case: Array
    persona: Array
    seed: Array
    replicate: Array
    """All (replies,)."""
    named: Array
    reference: Array
    """Both (replies, labels): whether it was named."""

    @classmethod
    def of(cls, rows: Sequence[Labelled], labels: Sequence[str]) -> Replies:
        """Of the rows of one arm."""
        import numpy as np

        def matrix(named: Sequence[frozenset[str]]) -> Array:
            found = np.array([[label in one for label in labels] for one in named], dtype=bool)
            return found.reshape(len(named), len(labels))

        return cls(
            case=np.array([row.patient for row in rows], dtype=object),
            persona=np.array([row.persona for row in rows], dtype=object),
            seed=np.array([row.seed for row in rows], dtype=int),
            replicate=np.array([row.replicate for row in rows], dtype=int),
            named=matrix([row.named for row in rows]),
            reference=matrix([row.reference for row in rows]),
        )

    def on(self, cases: Sequence[str]) -> Replies:
        """Those on some of the cases."""
        import numpy as np

        chosen = np.isin(self.case, np.array(list(cases), dtype=object))
        return Replies(**{name: values[chosen] for name, values in vars(self).items()})

    @property
    def seeds(self) -> int:
        """How many trainings they are of."""
        return len(set(self.seed.tolist()))

    @property
    def right(self) -> Array:
        """(replies, labels): named by both or by neither."""
        import numpy as np

        return np.asarray(self.named == self.reference)

    @property
    def exact(self) -> Array:
        """(replies,): all of the generator's labels were named, and no other."""
        import numpy as np

        return np.asarray(self.right.all(axis=1))


def sums(groups: Array, *values: Array) -> list[Array]:
    """Of (replies,) values over each group, the groups in order."""
    import numpy as np

    names, code = np.unique(groups, return_inverse=True)
    return [np.bincount(code, weights=each, minlength=len(names)) for each in values]
