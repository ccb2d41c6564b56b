"""What was scheduled: sessions of which a table has no row become rows without a score, so that
nobody forgets them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.scores import FACTOR, FLAG, ITEM
from cbt_ray.analysis.table.cells import joined, labelled
from cbt_ray.analysis.table.mapping import AMOUNTS, Chains, Mapping
from cbt_ray.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]

ABSENT = "absent"
"""Why a session is unrated that was scheduled and of which the table has no row."""
MOST = 30_000_000
"""Scheduled sessions, those without a row among them."""
CHAIN = ("arm", "seed", "patient", "replicate")


def key_of(columns: dict[str, pd.Series] | pd.DataFrame) -> pd.Series:
    """A session's key: its chain and its number, and the training seed where there are several."""
    names = [*CHAIN, "session"]
    if not (columns["seed"] > 0).any():
        names.remove("seed")
    return joined([columns[name] for name in names], "/")


def absent_rows(ratings: pd.DataFrame, mapping: Mapping) -> pd.DataFrame:
    """The rows that are not there, for each view and judge.

    People rate samples, so theirs are not missed.

    Raises InputError where a session number is beyond the last one.
    """
    import pandas as pd

    if mapping.scheduled is None:
        return ratings.iloc[:0]
    last, found = mapping.scheduled.sessions, int(ratings["session"].max())
    if found > last:
        raise InputError(
            f"mapping {mapping.mapping}: scheduled.sessions: expected no session beyond {last}, "
            f"the table has session {found}"
        )
    models = ratings[ratings["kind"] == "model"]
    groups = models.groupby(["view", "judge"], sort=False, observed=True)
    return pd.concat(
        [
            ratings.iloc[:0],
            *(_absent(own, ratings, mapping, mapping.scheduled) for _, own in groups),
        ],
        ignore_index=True,
    )


def _absent(
    own: pd.DataFrame, ratings: pd.DataFrame, mapping: Mapping, scheduled: Chains
) -> pd.DataFrame:
    """Of one view and judge; `ratings` say which arms and patients there are."""
    import numpy as np
    import pandas as pd

    # An arm has its own training seeds, so both are one level.
    levels = [
        pd.MultiIndex.from_frame(ratings[["arm", "seed"]].drop_duplicates()),
        *(pd.Index(ratings[name].unique()) for name in CHAIN[2:]),
    ]
    sizes = [len(level) for level in levels]
    there = [pd.MultiIndex.from_frame(own[["arm", "seed"]]), *(own[name] for name in CHAIN[2:])]
    place = np.ravel_multi_index(
        [level.get_indexer(values) for level, values in zip(levels, there, strict=True)], sizes
    )
    last = scheduled.sessions
    if math.prod(sizes) * last > MOST:
        raise InputError(
            f"mapping {mapping.mapping}: scheduled.sessions: expected at most {MOST:,} sessions in "
            "all, "
            f"found {' x '.join(map(str, (*sizes, last)))} (arms, patients, replicates, sessions)"
        )
    wanted = np.zeros((int(np.prod(sizes)), last), dtype=bool)
    wanted[slice(None) if scheduled.every_patient else place] = True
    wanted[place, own["session"].to_numpy() - 1] = False
    chain, missing = np.nonzero(wanted)
    keys = np.unravel_index(chain, sizes)
    arms = levels[0].take(keys[0]).to_frame(index=False)
    rows = arms.assign(
        **{
            name: level.to_numpy()[key]
            for name, level, key in zip(CHAIN[2:], levels[1:], keys[1:], strict=True)
        }
    )
    return _unrated(rows.assign(session=missing + 1), own, ratings, mapping)


def _unrated(
    rows: pd.DataFrame, own: pd.DataFrame, ratings: pd.DataFrame, mapping: Mapping
) -> pd.DataFrame:
    """All columns of `ratings` for chains and sessions without a score."""
    import numpy as np

    arms = ratings.drop_duplicates("arm").set_index("arm")
    phase = phases_of(rows["session"], mapping) if mapping.phases else ""
    rows = rows.assign(
        phase=phase,
        session_key=key_of(rows),
        **{name: own[name].iloc[0] for name in ("view", "judge", "kind")},
        judge_replicate=1,
        rated=False,
        reason=ABSENT,
        stop_reason=None,
        total=np.nan,
        heard=np.nan,
        **{name: 0 for name in AMOUNTS if name != "seed"},
        **{
            name: rows["arm"].map(arms[name]) for name in ratings.columns if name.startswith(FACTOR)
        },
    )
    items = {name: np.nan for name in ratings.columns if name.startswith(ITEM)}
    flags = {name: False for name in ratings.columns if name.startswith(FLAG)}
    return rows.assign(**items, **flags)[list(ratings.columns)].astype(ratings.dtypes.to_dict())


def phases_of(session: pd.Series, mapping: Mapping) -> pd.Series:
    """The phase of each session number; empty beyond the last one."""
    import numpy as np

    numbers = session.to_numpy()
    codes = np.full(len(numbers), -1)
    for code, (first, last) in enumerate(mapping.phases.values()):
        codes[(numbers >= first) & (numbers <= last)] = code
    return labelled(codes, list(mapping.phases))
