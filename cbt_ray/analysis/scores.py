"""Scores: one row per scheduled session, view, judge and judge replicate.

A table in memory, and averaged to a row a session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cbt_ray.study.imported import ABSENT, OWN_JUDGE

if TYPE_CHECKING:
    import pandas as pd

NOT_REACHED = "not_reached"
OWED = "owed"
REJECTED = "rejected"
NOTHING_TO_RATE = "nothing_to_rate"
ITEM_MISSING = "item_missing"
ITEM = "item:"
MEASURE = "measure:"
WITHOUT = "without:"
FLAG = "flag:"
RULE = "rule"
FACTOR = "factor:"
FACTS = (
    "arm",
    "seed",
    "patient",
    "replicate",
    "session",
    "phase",
    "stop_reason",
    "words",
    "therapist_turns",
    "heard",
    "messages",
)


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One scheduled session as one judge, view and judge replicate rated it, or the reason why it
    is unrated.
    """

    session_key: str
    arm: str
    factors: dict[str, str]
    """Factor -> level of the arm."""
    patient: str
    replicate: int
    session: int
    phase: str
    view: str
    judge_replicate: int
    rated: bool
    reason: str | None = None
    """not_reached, rejected:<why>, nothing_to_rate, judge_failed, owed, ...; None where rated."""
    items: dict[str, float | None] = field(default_factory=dict)
    measures: dict[str, float | None] = field(default_factory=dict)
    """Every measure of the scale; None where it has no value."""
    unmeasured: dict[str, str] = field(default_factory=dict)
    """Measure without a value -> why it has none."""
    total: float | None = None
    """The measure that the headline rests on."""
    words: int = 0
    therapist_turns: int = 0
    heard: int | None = None
    """Therapist turns with a word in what was read for this rating; None where nobody knows."""
    messages: int = 0
    flags: list[str] = field(default_factory=list)
    stop_reason: str | None = None
    judge: str = OWN_JUDGE
    """Whose rating it is: a rater of the study, or somebody whose ratings were imported."""
    kind: str = "model"
    """`model`, `human` or `rule`."""
    seed: int = 0
    """Number of the training seed; 0 where nothing was trained or the arm has one."""

    def to_json(self) -> dict[str, object]:
        """As one line of JSONL."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ScoreRow:
        """Read back; raises TypeError on unknown or absent fields."""
        return cls(**value)


@dataclass(frozen=True)
class Scores:
    """All ratings of a study as a table.

    `ratings` has one row per scheduled session, view, judge and judge replicate: session_key, arm,
    patient, phase, view, judge, kind, reason, stop_reason (text; reason is null where rated),
    replicate, session, judge_replicate, seed, words, therapist_turns, messages, heard (numbers; the
    last is NaN where unknown), rated (bool), total (NaN where unrated), a column `factor:<name>`
    per factor (text; empty where an arm has no level), `item:<id>` per item (NaN where missing),
    `measure:<name>` and `without:<name>` per measure (NaN where it has no value, and why) and
    `flag:<name>` per flag (bool).
    """

    ratings: pd.DataFrame

    @classmethod
    def of(cls, rows: Iterable[ScoreRow]) -> Scores:
        """A table of rows."""
        import pandas as pd

        known = list(rows)
        apart = ("factors", "items", "measures", "unmeasured", "flags")
        plain = [name for name in ScoreRow.__dataclass_fields__ if name not in apart]
        columns: dict[str, Any] = {name: [getattr(row, name) for row in known] for name in plain}
        columns["heard"] = [
            float("nan") if row.heard is None else float(row.heard) for row in known
        ]
        columns["total"] = [
            float("nan") if row.total is None else float(row.total) for row in known
        ]
        for factor in dict.fromkeys(factor for row in known for factor in row.factors):
            columns[FACTOR + factor] = [row.factors.get(factor, "") for row in known]
        for item in dict.fromkeys(item for row in known for item in row.items):
            values = [row.items.get(item) for row in known]
            columns[ITEM + item] = [
                float("nan") if value is None else float(value) for value in values
            ]
        for name in dict.fromkeys(name for row in known for name in row.measures):
            found = [row.measures.get(name) for row in known]
            columns[MEASURE + name] = [
                float("nan") if value is None else float(value) for value in found
            ]
            columns[WITHOUT + name] = [row.unmeasured.get(name) for row in known]
        for flag in sorted({flag for row in known for flag in row.flags}):
            columns[FLAG + flag] = [flag in row.flags for row in known]
        return cls(pd.DataFrame(columns))

    def in_order(self) -> Scores:
        """The same in an order that does not depend on how the rows came."""
        by = ["session_key", "view", "judge", "judge_replicate"]
        return Scores(self.ratings.sort_values(by, kind="stable", ignore_index=True))

    def readers(self) -> Scores:
        """Without what rules counted: they repeat themselves and agree with nobody."""
        return Scores(self.ratings[self.ratings["kind"] != RULE])

    def on(self, measure: str) -> Scores:
        """The same with another measure as the total."""
        import pandas as pd

        table, nothing = self.ratings, pd.Series(None, index=self.ratings.index, dtype=object)
        why = table.get(WITHOUT + measure, nothing)
        return Scores(
            table.assign(
                total=table.get(MEASURE + measure, nothing).astype(float),
                reason=table["reason"].astype(object).where(~table["rated"], why),
            )
        )

    @property
    def items(self) -> list[str]:
        """The items that were rated, in the order of the columns."""
        return [name.removeprefix(ITEM) for name in self.ratings.columns if name.startswith(ITEM)]

    @property
    def flags(self) -> list[str]:
        """The flags that any session carries."""
        return [name.removeprefix(FLAG) for name in self.ratings.columns if name.startswith(FLAG)]

    @cached_property
    def views(self) -> list[str]:
        """The views in which sessions were shown, in their order."""
        return [str(view) for view in self.ratings["view"].unique()]

    @cached_property
    def judges(self) -> dict[str, str]:
        """Judge -> kind (`model`, `human`, `rule`), in their order."""
        pairs = self.ratings[["judge", "kind"]].drop_duplicates("judge")
        return {str(judge): str(kind) for judge, kind in pairs.itertuples(index=False)}

    def of_judge(self, view: str, judge: str) -> pd.DataFrame:
        """The rows of one view and judge."""
        return self.ratings[(self.ratings["view"] == view) & (self.ratings["judge"] == judge)]

    def sessions(self, view: str, judge: str = OWN_JUDGE) -> pd.DataFrame:
        """One row per scheduled session: its judge replicates averaged, since replicates are no
        independent observations.

        The facts, `factor:*`, `chain` (arm|patient|replicate, and the training seed where there are
        several), `total` and `item:*` (means over replicates),
        `ratings` (replicates with a total), `within` (their variance, NaN below two), `reason` (why
        it is unrated), and how far it came: `reached`, `held`,
        `lost` (unrated because of what happened in the chain, and not because of the judge or of
        work still owed).
        """
        return averaged(self.of_judge(view, judge))


def averaged(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the judge replicates of each session; rows of one view and judge."""
    import pandas as pd

    scored = [name for name in rows.columns if name == "total" or name.startswith(ITEM)]
    facts = [name for name in rows.columns if name in FACTS or name.startswith((FACTOR, FLAG))]
    groups = rows.groupby("session_key", sort=False, observed=True)
    table = groups[facts].first()
    means = groups[scored].mean()
    table[scored] = means
    table["ratings"] = groups["total"].count()
    table["within"] = groups["total"].var(ddof=1)
    reasons = groups["reason"].first()
    unknown = pd.Series("unknown", index=table.index, dtype=object).mask(
        groups["rated"].any(), ITEM_MISSING
    )
    table["reason"] = (
        reasons.astype(object).where(reasons.notna(), unknown).where(table["total"].isna(), None)
    )
    # With `|` in a name, two chains could have one text.
    names = [
        table[name].astype(str).str.replace("|", "%7C", regex=False) for name in ("arm", "patient")
    ]
    seeds = ("|" + table["seed"].astype(str)).mask(table["seed"] == 0, "")
    table["chain"] = names[0] + "|" + names[1] + "|" + table["replicate"].astype(str) + seeds
    return _progress(table.reset_index())


def _progress(table: pd.DataFrame) -> pd.DataFrame:
    """How far each session came."""
    reason = table["reason"].fillna("").astype(str)
    rated, rejected, owed = table["total"].notna(), reason.str.startswith(REJECTED), reason == OWED
    table["held"] = (
        rated
        | (owed & (table["messages"] > 0))
        | ~(owed | rejected | reason.isin([NOT_REACHED, ABSENT]))
    )
    table["reached"] = table["held"] | rejected
    table["lost"] = ~rated & (rejected | reason.isin([NOT_REACHED, NOTHING_TO_RATE]))
    return table
