"""A study, or a table of ratings, in Python: as pandas frames, without the command line."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis import Analysis, ScoreRow
from cbt_ray.study import Study, load_study
from cbt_ray.unit import Key, Status, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent

if TYPE_CHECKING:
    import pandas as pd


class Opened:
    """What a study has in its store now; nothing is made or changed.

    A frame is read when it is first asked for, and kept.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self._bench = Bench(study, Silent())

    @cached_property
    def turns(self) -> pd.DataFrame:
        """What was said in the simulated sessions: arm, patient_id, replicate, session, turn,
        speaker, text.
        """
        from cbt_ray.commands.data import turns_of

        return _frame(row for unit in self._done_sessions for row in turns_of(unit))

    @cached_property
    def sessions(self) -> pd.DataFrame:
        """A row a simulated session: the same places, phase, stop, number of messages and words."""
        import pandas as pd

        if self.turns.empty:
            return pd.DataFrame()
        place = ["key", "arm", "patient", "patient_id", "replicate", "session"]
        turns = self.turns.assign(words=[len(text.split()) for text in self.turns["text"]])
        sizes = turns.groupby(place, sort=False).agg(
            messages=("turn", "size"), words=("words", "sum")
        )
        ends = _frame(
            {"key": str(unit.key), **{name: unit.content[name] for name in ("phase", "stop")}}
            for unit in self._done_sessions
        )
        return sizes.reset_index().merge(ends, on="key")

    @cached_property
    def ratings(self) -> pd.DataFrame:
        """A row an item of a judgement: judge, view, item, word, score, justification, reason."""
        from cbt_ray.commands.data import items_of

        return _frame(row for unit in self._ratings for row in items_of(unit))

    @cached_property
    def measures(self) -> pd.DataFrame:
        """A row a measure of a judgement: judge, view, measure, value, reason."""
        from cbt_ray.commands.data import measures_of

        return _frame(row for unit in self._ratings for row in measures_of(unit))

    @cached_property
    def scores(self) -> pd.DataFrame:
        """A row a scheduled session, view, judge and judge's replicate, as the analysis has it;
        empty until there is one.
        """
        from cbt_ray.stages.tables import scores_of

        unit = self._analysis
        rows = map(ScoreRow.from_json, unit.content["rows"]) if unit else ()
        return _frame(scores_of(rows))

    @cached_property
    def analysis(self) -> Analysis | None:
        """The analysis, section by section; None until there is one."""
        from cbt_ray.stages.analyse import analysis_of

        return analysis_of(self._bench, self._analysis) if self._analysis else None

    @cached_property
    def _done_sessions(self) -> list[Unit]:
        units = self._units(self._bench.keys.sessions())
        return [unit for unit in units if unit.status is Status.DONE]

    @cached_property
    def _ratings(self) -> list[Unit]:
        keys = self._bench.keys
        return self._units([*keys.ratings(), *keys.imported_ratings()])

    @cached_property
    def _analysis(self) -> Unit | None:
        return next(iter(self._units([self._bench.keys.analysis()])), None)

    def _units(self, keys: list[Key]) -> list[Unit]:
        from cbt_ray.commands.data import counted

        return list(counted(self._bench, keys))


def open_study(file: str | Path, fields: Mapping[str, Any] | None = None) -> Opened:
    """Open a study file; `fields` replaces some of it, by dotted names.

    Raises InputError with all that is wrong.
    """
    return Opened(load_study(file, dict(fields or {})))


def analyse(
    table: pd.DataFrame | str | Path,
    mapping: str = "cbt-ray",
    fields: Mapping[str, object] | None = None,
) -> Analysis:
    """Analyse a table of ratings, a frame or a CSV file, whose columns a mapping declares.

    `mapping` is the name of one that comes along (without it that of `scores`), or a YAML file;
    `fields` replaces fields of the analysis block. Raises InputError on what cannot be read.
    """
    from cbt_ray.commands.analyze import analysed, read_for

    if not isinstance(table, str | Path):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "frame.csv"
            table.to_csv(file, index=False)
            return analyse(file, mapping, fields)
    file = Path(table)
    return analysed(file, *read_for(file, mapping, fields or {}))


def _frame(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows))
