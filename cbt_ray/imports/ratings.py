"""Import of ratings that people or other judges gave a study's sessions.

All rows of a table are good, or none is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cbt_ray.analysis.table.cells import LARGEST_WHOLE
from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.imports.ends import TableEnds
from cbt_ray.imports.manifest import (
    Manifest,
    default_for,
    line_for,
    name_in,
    named_in,
    read_manifest,
)
from cbt_ray.imports.rating_table import RatingTable, Row, read_rating_table
from cbt_ray.imports.units import imported_unit, store_units
from cbt_ray.rating.measure import ITEM_MISSING, Value, values
from cbt_ray.rating.scale import Item, Scale
from cbt_ray.reading import loads
from cbt_ray.reading.cell import LONGEST_SHOWN, UNFIT, not_a_number, number_of, shown
from cbt_ray.store import Store, open_store
from cbt_ray.study import Study, load_study
from cbt_ray.study.block import as_name
from cbt_ray.study.scheduled import patient_slug, session_id
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.inputs import at
from cbt_ray.work.keys import Keys
from cbt_ray.work.outcome import imported_with, scales_of
from cbt_ray.work.rating_id import rating_id
from cbt_ray.work.survey import Entry, State, Survey
from cbt_ray.work.workshop import prompts_of

Say = Callable[[str], object]
MOST_SHOWN = 20
_SAME = 1e-6
"""A total may be rounded so far from what its items make."""


@dataclass(frozen=True)
class Published:
    """What is known of a table that was published."""

    who: str
    """Which model judged."""
    mapping: str
    """How `analyze` reads the table as it was published."""


def import_ratings(
    file: Path,
    study_file: Path,
    judge: str | None,
    kind: str | None,
    mapping: str | None,
    overrides: Mapping[str, Any],
    say: Say,
    *,
    complete: bool = False,
    published: Published | None = None,
) -> None:
    """Read a table and store its ratings; `complete`: its judges were to rate every session.

    `published`: what is known of a table that was published.
    Raises InputError where a row is of no use: then nothing is imported.
    """
    named = named_in(study_file)
    manifest = read_manifest(named or default_for(study_file))
    without = () if named and named.exists() else ("imported",)
    study = load_study(study_file, dict(overrides), without=without)
    prompts = prompts_of(study)
    with at(study, "raters"):
        scale, measure = imported_with(study, prompts, as_name((judge or "").casefold()))
    table = read_rating_table(file, scale, mapping)
    with at(study):
        store = open_store(study.store)
        store.check()
    for notice in table.notices:
        say(f"{file}: {notice}")
    reading = Reading(
        study,
        scale,
        measure,
        Survey(Keys(study, prompts), store, [Stage.SESSIONS]),
        judge,
        kind,
        table.ends,
        table.decimal,
    )
    units = reading.read(table)
    _check_kinds(table, reading.kinds, manifest)
    if reading.problems:
        _refuse(table, reading.problems, say)
    manifest = manifest.published_as(published.mapping) if published else manifest
    who = published.who if published else ""
    _keep(study, store, manifest, table, reading.kinds, units, say, complete=complete, who=who)
    if named is None:
        name_in(study_file, manifest.file)
        say(f"{study_file}: the line `{line_for(study_file, manifest.file)}` was added")


def _keep(
    study: Study,
    store: Store,
    manifest: Manifest,
    table: RatingTable,
    kinds: Mapping[str, str],
    units: list[Unit],
    say: Say,
    *,
    complete: bool,
    who: str,
) -> None:
    """Store the units and write the manifest."""
    stored = store_units(store, study, units)
    for name, kind in sorted(kinds.items()):
        own = [unit for unit in units if unit.content["judge"] == name]
        before = manifest.content.judges[name].ratings if name in manifest.content.judges else {}
        changed = sum(before.get(unit.key.id, unit.key.h16) != unit.key.h16 for unit in own)
        source = f"{many(len(own), 'rating')} by {name} ({kind}) of {table.path.name}"
        manifest = manifest.with_judge(name, kind, own, source, complete=complete, who=who)
        say(
            f"{name} ({kind}): {many(len(own), 'rating')}"
            + (f", {changed} in place of others" if changed else "")
        )
    written = "written" if manifest.write() else "is as it was"
    say(
        f"{many(stored.units, 'unit')}, {stored.new} of them new, in {store.url}; {manifest.file} "
        f"{written}"
    )


def _check_kinds(table: RatingTable, kinds: Mapping[str, str], manifest: Manifest) -> None:
    for name, kind in kinds.items():
        known = manifest.content.judges.get(name)
        if known and known.kind != kind and known.ratings:
            raise InputError(
                f"{table.path}: expected kind {known.kind} of {name}, of whom ratings were "
                f"imported before; found {kind}"
            )


def _refuse(table: RatingTable, problems: list[tuple[int, str]], say: Say) -> None:
    for line, problem in problems[1:MOST_SHOWN]:
        say(f"{table.path}, line {line}: {problem}")
    more = (
        f" ({many(len(problems), 'such row')}; nothing was imported)"
        if len(problems) > 1
        else " (nothing was imported)"
    )
    raise InputError(f"{table.path}, line {problems[0][0]}: {problems[0][1]}{more}")


class _Unfit(ValueError):
    """What is wrong with a row."""


@dataclass
class Reading:
    """Turns rows into rating units of a study; what is wrong with a row is noted with its line."""

    study: Study
    scale: Scale
    measure: str
    """The headline's: what a table calls the total."""
    survey: Survey
    judge: str | None
    kind: str | None
    ends: TableEnds
    decimal: str
    problems: list[tuple[int, str]] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    """Judge -> kind, of those in the table."""

    def __post_init__(self) -> None:
        self.whose = as_name((self.judge or "").casefold())
        self._spelt: dict[str, str] = {}
        self._sessions: dict[str, Entry] = {
            entry.key.id: entry for entry in self.survey.stages[Stage.SESSIONS]
        }
        self._keys: dict[str, Entry] = {
            str(entry.key): entry for entry in self.survey.stages[Stage.SESSIONS]
        }

    def read(self, table: RatingTable) -> list[Unit]:
        """A unit for each row that is good."""
        units: dict[str, tuple[Unit, int]] = {}
        for row in table.rows:
            try:
                content = self._content(row)
                name = self._id(content)
                if name in units:
                    raise _Unfit(
                        "the same session, judge, view and judge_replicate as on line "
                        f"{units[name][1]}"
                    )
            except _Unfit as problem:
                self.problems.append((row.line, str(problem)))
                continue
            source: dict[str, Any] = {
                "file": table.path.name,
                "sha256": table.sha256,
                "line": row.line,
            }
            if "source" in row.fields:
                source["source"] = row.fields["source"]
            if self.ends.range is not None:
                source |= {"range": list(self.ends.range), "rescale": "linear"}
            made_from = {content["session"]: self._keys[content["session"]].digest or ""}
            unit = imported_unit(self.study, Stage.RATINGS, name, content, source, made_from)
            units[name] = unit, row.line
        return [unit for unit, _ in units.values()]

    def _id(self, content: Mapping[str, Any]) -> str:
        return rating_id(
            Key.parse(content["session"]).id,
            content["judge"],
            content["view"],
            content["judge_replicate"],
        )

    def _content(self, row: Row) -> dict[str, Any]:
        unfit = next(
            (
                name
                for name, cell in (*row.fields.items(), *row.items.items())
                if UNFIT.search(cell)
            ),
            None,
        )
        if row.problem or unfit:
            raise _Unfit(
                row.problem or f"{unfit}: expected text, found a NUL or half a surrogate pair"
            )
        session, (judge, kind) = self._session(row), self._judge(row)
        people = self.study.people.get(judge)
        views = people.views if people else self.study.views
        view = row.fields.get("view", views[0])
        if view not in views:
            raise _Unfit(f"view: expected one of {', '.join(views)}, found {shown(view)}")
        strip = row.fields.get("strip")
        if strip not in (None, "summary", "paper"):
            raise _Unfit(f"strip: expected summary or paper, found {shown(strip)}")
        read = row.fields.get("opening_read")
        if read not in (None, "true", "false"):
            raise _Unfit(f"opening_read: expected true or false, found {shown(read)}")
        items, measures = self._scores(row)
        place = {
            "view": view,
            "judge": judge,
            "kind": kind,
            "judge_replicate": self._number(row, "judge_replicate"),
            "session": str(session),
            **({"strip": strip} if strip else {}),
            **({"opening_read": read == "true"} if read else {}),
        }
        return {**place, "items": items, "measures": measures}

    # ---- which session ---------------------------------------------------------------------------

    def _session(self, row: Row) -> Key:
        if "session_key" in row.fields:
            wanted = row.fields["session_key"]
            entry = self._keys.get(wanted) or self._sessions.get(wanted)
            if entry is None:
                raise _Unfit(
                    "session_key: expected a session that the study file derives, found "
                    f"{shown(wanted)}"
                )
        else:
            wanted = self._place(row)
            entry = self._sessions.get(wanted)
        if entry is None:
            rules = self.study.sessions
            raise _Unfit(
                f"session: expected 1 to {rules.count}, replicate 1 to {rules.replicates}; found "
                f"{wanted}"
            )
        if entry.state is not State.DONE:
            raise _Unfit(
                f"expected a session that was held, {entry.key.id} is "
                f"{entry.reason or entry.state.value}"
            )
        return entry.key

    def _place(self, row: Row) -> str:
        fields = row.fields
        alike = [
            arm
            for arm in self.study.arms
            if arm.name.casefold() == fields.get("arm", "").casefold()
        ]
        if not alike and "model" in fields:
            kind = (fields["model"].casefold(), fields.get("variant", "").casefold())
            alike = [
                arm for arm in self.study.arms if ((arm.model or "").casefold(), arm.kind) == kind
            ]
        if len(alike) != 1:
            found = (
                fields.get("arm")
                or " ".join(fields.get(name, "") for name in ("model", "variant")).strip()
                or "none"
            )
            raise _Unfit(
                f"arm: expected one of {', '.join(arm.name for arm in self.study.arms)}, found "
                f"{found[:LONGEST_SHOWN]}"
            )
        patient = fields.get("patient", "")
        known = [one for one in self.study.simulated if patient in (one.name, patient_slug(one))]
        known = known or [
            one for one in self.study.simulated if _folded(one.name) == _folded(patient)
        ]
        if len(known) != 1:
            raise _Unfit(
                f"patient: expected one of the simulated patients, found {shown(patient or 'none')}"
            )
        return session_id(
            alike[0],
            known[0],
            self._number(row, "replicate"),
            self._number(row, "session", needed=True),
        )

    # ---- whose rating ----------------------------------------------------------------------------

    def _judge(self, row: Row) -> tuple[str, str]:
        judge = self.judge or row.fields.get("judge")
        if judge is None:
            raise _Unfit("judge: expected a column judge, or --judge NAME")
        name = as_name(judge.casefold())
        people = self.study.people
        taken = [rater for rater in self.study.raters if rater not in people]
        if not name or name in taken:
            raise _Unfit(
                "judge: expected a name with letters or digits other than "
                f"{', '.join(taken)}, found {shown(judge)}"
            )
        if name in people and scales_of(self.study, name) != scales_of(self.study, self.whose):
            raise _Unfit(
                f"judge: {name} rates on {', '.join(people[name].scales)}: expected those ratings "
                f"in a table of their own, with --judge {name}"
            )
        if self._spelt.setdefault(name, judge) != judge:
            raise _Unfit(
                f"judge: expected one spelling of {name}, as {shown(self._spelt[name])} before; "
                f"found {shown(judge)}"
            )
        kind = self.kind or row.fields.get("kind", "human")
        if kind not in ("human", "model"):
            raise _Unfit(f"kind: expected human or model, found {shown(kind)}")
        if name in people and kind != "human":
            raise _Unfit(f"kind: expected human of raters.{name}, which is people; found {kind}")
        if self.kinds.setdefault(name, kind) != kind:
            raise _Unfit(f"kind: expected {self.kinds[name]} for {name}, as before; found {kind}")
        return name, kind

    # ---- the scores ------------------------------------------------------------------------------

    def _scores(self, row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
        """The items and the measures; the headline's as given where items are missing.

        All on the study's scale.
        """
        unknown = sorted(set(row.items) - {item.id for item in self.scale.items})
        if unknown:
            raise _Unfit(
                f"expected items of the scale {self.scale.name}, found {shown(unknown[0])}"
            )
        found = {item.id: self._score(row, item) for item in self.scale.items} if row.items else {}
        said, why = self._texts(row, "justifications"), self._texts(row, "reasons")
        given = self._total(row)
        if given is None and all(score is None for score in found.values()):
            raise _Unfit("expected scores of items, or a total; found neither")
        self._must_agree(found, given)
        scores = {
            name: None if score is None else self.ends.on_scale(name, score)
            for name, score in found.items()
        }
        measures = self.scale.values(scores)
        if given is not None and measures[self.measure].reason == ITEM_MISSING:
            measures[self.measure] = Value(self.ends.on_scale(self.measure, given))
        items = {item.id: item for item in self.scale.items}
        return (
            {name: self._item(items[name], score, said, why) for name, score in scores.items()},
            {name: self._rounded(value).to_json() for name, value in measures.items()},
        )

    def _must_agree(self, scores: Mapping[str, float | None], given: float | None) -> None:
        """A total beside items is the one that they make."""
        whole = {item.id: scores.get(item.id) for item in self.scale.items}
        made = values(self.scale.measures, whole, self.ends.given)[self.measure].value
        if given is not None and made is not None and abs(given - made) > _SAME:
            raise _Unfit(f"total: expected {made:g}, as the items make it, found {given:g}")

    def _score(self, row: Row, item: Item) -> float | None:
        if item.id not in row.items:
            return None
        score = self._amount(row.items[item.id], item.id, whole=self.ends.same)
        known = not self.ends.same or not item.steps or item.step(score) is not None
        if not self.ends.fits(item.id, score) or not known:
            raise _Unfit(f"{item.id}: expected {self.ends.span(item.id)}, found {score:g}")
        return score

    def _total(self, row: Row) -> float | None:
        """The headline's measure, as the table has it."""
        if "total" not in row.fields:
            return None
        whole = self.ends.same and self._is_plain_sum()
        total = self._amount(row.fields["total"], "total", whole=whole)
        if not self.ends.fits(self.measure, total):
            raise _Unfit(f"total: expected {self.ends.span(self.measure)}, found {total:g}")
        return total

    def _is_plain_sum(self) -> bool:
        """Whether the headline is a sum of nothing but items: whole, where they are."""
        made = {measure.name: measure for measure in self.scale.measures}
        own = made[self.measure]
        plain = own.operation == "sum" and own.times == 1 and own.rescale is None
        return plain and not any(part in made for group in own.parts for part in group)

    def _amount(self, cell: str, name: str, *, whole: bool) -> float:
        """A score; a whole one, where it is to be one of the scale."""
        if whole:
            return self._whole(cell, name)
        value = number_of(cell, self.decimal)
        if value is None:
            raise _Unfit(f"{name}: {not_a_number(cell, self.decimal)}")
        return int(value) if value == int(value) else value

    def _rounded(self, value: Value) -> Value:
        if self.ends.same or value.value is None:
            return value
        return value._replace(value=round(value.value, 6))

    def _item(
        self, item: Item, score: float | None, said: Mapping[str, str], why: Mapping[str, str]
    ) -> dict[str, Any]:
        worded = item.kind == "words" and score is not None and self.ends.same
        step = item.step(score) if worded and score is not None else None
        return {
            "word": step.word if step else None,
            "score": score,
            "justification": said.get(item.id, ""),
            "reason": why.get(item.id, None if score is not None else "absent"),
        }

    def _texts(self, row: Row, field: str) -> dict[str, str]:
        """A JSON object, item or title -> text; empty where there is none."""
        if field not in row.fields:
            return {}
        try:
            said = loads(row.fields[field])
        except ValueError:
            said = None
        if not isinstance(said, dict) or UNFIT.search(
            "".join(f"{name}{text}" for name, text in said.items())
        ):
            raise _Unfit(f"{field}: expected a JSON object, item -> text")
        titles = {item.title: item.id for item in self.scale.items}
        return {titles.get(str(name), str(name)): str(text) for name, text in said.items()}

    # ---- numbers ---------------------------------------------------------------------------------

    def _whole(self, cell: str, name: str) -> int:
        value = number_of(cell, self.decimal)
        if value is None or value != int(value):
            said = not_a_number(cell, self.decimal).removeprefix("expected a number")
            raise _Unfit(f"{name}: expected a whole number{said}")
        return int(value)

    def _number(self, row: Row, name: str, *, needed: bool = False) -> int:
        """A number that counts from 1; 1 where there is none and it is not needed."""
        if name not in row.fields:
            if needed:
                raise _Unfit(f"{name}: expected a number, found none")
            return 1
        value = self._whole(row.fields[name], name)
        if not 1 <= value <= LARGEST_WHOLE:
            raise _Unfit(f"{name}: expected at least 1, found {value:g}")
        return value


def _folded(name: str) -> str:
    """A name without case and surplus blanks."""
    return " ".join(name.split()).casefold()
