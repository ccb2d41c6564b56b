"""The licence gate: what the terms of base model and generator demand of a tuned model, or why it
must not be trained.

Terms are data (`terms`). They are looked up before anything is paid for: unknown, undeclared and
forbidding ones are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from cbt_ray.errors import InputError
from cbt_ray.study.endpoint import ScriptedEndpoint, VllmEndpoint
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.recipe import pairs_of
from cbt_ray.study.study import Study
from cbt_ray.study.terms import Duties, Terms, find

BASE, GENERATOR = "the base model", "the model that wrote what is trained on"


class Forbidden(Exception):
    """Terms do not allow what was asked; `who` of the two models is under them."""

    def __init__(self, who: str, expected: str) -> None:
        super().__init__(expected)
        self.who = who


class Licence(NamedTuple):
    """A licence by its name, with its terms."""

    name: str
    terms: Terms


@dataclass(frozen=True)
class Demand:
    """One thing that is demanded, and by which licence of whom."""

    text: str
    why: str


@dataclass(frozen=True)
class Demands:
    """All that is demanded of a tuned model."""

    licences: tuple[Licence, ...]
    """Of the base model, and of the generator where that is under another one."""
    name_begins: tuple[Demand, ...] = ()
    display: tuple[Demand, ...] = ()
    notice: tuple[Demand, ...] = ()
    licence_text: tuple[Demand, ...] = ()
    """Names of licences, with a link where one is known."""
    state_changes: tuple[Demand, ...] = ()
    use_policy: tuple[Demand, ...] = ()
    non_commercial: tuple[Demand, ...] = ()

    @property
    def prefix(self) -> str:
        """What the tuned model's name begins with; empty where nobody asks for anything."""
        return max((demand.text for demand in self.name_begins), key=len, default="")

    @property
    def notice_file(self) -> str:
        """The text of the file `Notice` that goes along; empty where none is asked for."""
        return "".join(f"{demand.text}\n" for demand in self.notice)


@dataclass(frozen=True)
class _Side:
    """One of the two models: its licence, and what that demands."""

    licence: Licence
    duties: Duties
    who: str

    def texts(self, field: str) -> Iterator[str]:
        """What one of the duties says, as texts."""
        value = getattr(self.duties, field)
        if field == "licence_text":
            link = self.licence.terms.link
            yield from [f"{self.licence.name}{f' ({link})' if link else ''}"] if value else []
        elif field in _SAID:
            yield from [_SAID[field]] if value else []
        elif isinstance(value, tuple):
            yield from value
        elif value is not None:
            yield value


_SAID = {
    "state_changes": "These files were changed: they are the base model, tuned and converted.",
    "non_commercial": "For research and other non-commercial use only.",
}


def demands(base: Licence, generator: Licence | None) -> Demands:
    """What is demanded of a model tuned from `base` on what `generator` wrote.

    None: no model wrote it.

    Raises Forbidden where one of them does not allow it, or where both want to stand first in the
    name.
    """
    sides = [_base(base), *([_generator(generator)] if generator else [])]
    found = {field: _demanded(sides, field) for field in Duties.model_fields}
    made = Demands(tuple({side.licence.name: side.licence for side in sides}.values()), **found)
    for demand in made.name_begins:
        if not made.prefix.startswith(demand.text):
            raise Forbidden(
                BASE,
                f"expected one name to come first in the tuned model's, found {made.prefix} and "
                f"{demand.text}",
            )
    return made


def _demanded(sides: Iterable[_Side], field: str) -> tuple[Demand, ...]:
    """Each text once, with all who ask for it."""
    asked: dict[str, list[str]] = {}
    for side in sides:
        for text in side.texts(field):
            asked.setdefault(text, []).append(f"{side.licence.name}, of {side.who}")
    return tuple(Demand(text, "; ".join(why)) for text, why in asked.items())


def _base(licence: Licence) -> _Side:
    if licence.terms.derived is None:
        raise Forbidden(
            BASE,
            f"expected a licence that allows to tune a model, {licence.name} says nothing of the "
            "kind (`derived`)",
        )
    return _Side(licence, licence.terms.derived, BASE)


def _generator(licence: Licence) -> _Side:
    outputs = licence.terms.outputs
    if outputs is None:
        raise Forbidden(
            GENERATOR,
            f"expected what {licence.name} says about training on outputs (`outputs`), not known",
        )
    if outputs.training == "forbidden":
        said = f": {outputs.clause}" if outputs.clause else ""
        raise Forbidden(
            GENERATOR,
            f"expected terms that allow to train on outputs, {licence.name} do not{said}; take "
            "another generator, or declare "
            "under `licences` what you were permitted",
        )
    return _Side(licence, outputs, GENERATOR)


def demands_of(study: Study, model: str) -> Demands:
    """What is demanded of one of the study's models when it is tuned.

    Raises InputError, one line with file and field.
    """
    base_field = f"models.{model}.recipe.licence"
    field, name, what = _writer(study, model)
    base = _known(study, base_field, study.models[model].recipe.licence, "weights")
    generator = None if what is None else _known(study, field, name, what)
    try:
        return demands(base, generator)
    except Forbidden as error:
        where = base_field if error.who == BASE else field
        raise InputError(f"{study.file}: {where}: {error}") from None


def check_licences(study: Study, models: Iterable[str] | None = None) -> None:
    """Raise InputError where one of these models must not be tuned.

    None: all that an arm or a rater wants tuned.
    """
    tuned = {one.model for one in study.arms if one.tuned and one.model is not None}
    tuned |= {one.model for one in study.judges.values() if one.tuned and one.model is not None}
    wanted = sorted(tuned) if models is None else models
    for model in wanted:
        demands_of(study, model)


def published_name(study: Study, made: Checkpoint) -> str:
    """The name under which a tuned model is exported, with what its licences demand first.

    Raises InputError.
    """
    prefix = demands_of(study, made.model).prefix.replace(" ", "-")
    return "-".join(part for part in (prefix, study.study, made.id) if part)


def _writer(study: Study, model: str) -> tuple[str, str | None, str | None]:
    """The field that declares who wrote what a model is trained on, what it says, and what that is.

    None: no model wrote it.
    """
    recipe = study.models[model].recipe
    if study.models[model].learns is not None:
        return f"models.{model}.learns", None, None
    if recipe.method == "orpo" and pairs_of(recipe) is None:
        return (
            f"models.{model}.recipe.preferences_licence",
            recipe.preferences_licence,
            "preference pairs",
        )
    teacher = study.teacher(recipe)
    if teacher is None:
        return "roles.generator", None, "generator, whose texts are trained on"
    name = teacher.endpoint
    endpoint = study.endpoints[name]
    scripted = isinstance(endpoint, ScriptedEndpoint) and endpoint.licence is None
    return (
        f"endpoints.{name}.licence",
        None if isinstance(endpoint, VllmEndpoint) else endpoint.licence,
        None if scripted else "generator, whose texts are trained on",
    )


def _known(study: Study, field: str, name: str | None, what: str) -> Licence:
    if name is None:
        raise InputError(
            f"{study.file}: {field}: expected the licence of the {what}; docs/licences.md has the "
            "known ones"
        )
    found = find(name, study.licences)
    if found is None:
        raise InputError(
            f"{study.file}: {field}: expected a licence whose terms are known, found {name!r}; "
            "docs/licences.md has the known "
            "ones, `licences` of the study file takes others"
        )
    return Licence(*found)
