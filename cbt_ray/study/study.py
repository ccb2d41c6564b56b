"""The study: the whole study file, with what its blocks demand of each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from cbt_ray.study import factor, serving
from cbt_ray.study.block import Block, Name, Several, Share, twice
from cbt_ray.study.contrast import Contrast, Levels, default_contrasts
from cbt_ray.study.endpoint import (
    FINETUNED,
    Endpoint,
    Role,
    Roles,
    ScriptedEndpoint,
    is_finetuned,
)
from cbt_ray.study.form import PLAIN, WHOLE, Form
from cbt_ray.study.imported import Imported
from cbt_ray.study.model import Analysis, Arm, Checkpoint, Dataset, Model
from cbt_ray.study.pairs import Pairs
from cbt_ray.study.protocol import Courses, Flags, Patients, Phase, Sessions
from cbt_ray.study.rater import Judge, People, Rater, Rulebook
from cbt_ray.study.recipe import Recipe, pairs_of
from cbt_ray.study.scheduled import (
    Writing,
    checkpoints,
    is_made,
    needs_courses,
    patient_slug,
    seeds_of,
)
from cbt_ray.study.terms import Terms

TODAY = date(2025, 1, 1)
NO_PHASE = Phase(name="all", sessions=(1, 1000), goals="", techniques="")
"""Of a study without phases."""
MOST = 1_000_000
"""Sessions, or ratings, of a study: more could not be planned, let alone held."""
LOOSE = {"loose": True}
"""Context of a validation that leaves aside whether the blocks fit together, so that the rest can
be looked at."""


class Unfit(Several):
    """The blocks of a study are right, but do not fit together."""


class Minimum(Block):
    """What a stage must yield for the next to make sense.

    Below it a finished stage ends with exit code 3.
    """

    courses: Share = 0.8
    """Share of the scheduled course sessions that are valid."""
    sessions: Share = 0.0
    """Share of the scheduled simulated sessions that are done."""
    ratings: int = Field(0, ge=0)
    """Rated sessions in every arm."""


class Budget(Block):
    """What the study may cost in all; checked before each call, across all workers.

    Reached: exit 2, the rest is owed.
    """

    calls: int | None = Field(None, ge=1)
    """Calls in all."""
    tokens: int | None = Field(None, ge=1)
    """Tokens of prompts and replies in all."""
    cost: float | None = Field(None, gt=0)
    """Dollars."""


class Engine(Block):
    """Where and how wide it runs; never part of a key."""

    address: str | None = None
    """A Ray cluster's address; none: workers on this machine.

    The environment variable `RAY_ADDRESS` wins.
    """
    workers: int | None = Field(None, ge=1, le=100_000)
    """Processes that jobs (chains, courses, ratings) are done in.

    None: one a machine, and where a stage's models run in the process, as many as the CPUs allow.
    """
    chains_per_worker: int | None = Field(None, ge=1, le=1000)
    """Jobs at once in each worker.

    None: what the endpoints bear (`max_concurrency`), at most 128; 16 where one of them does not
    say; with a model in the process its `parallel`.
    """


class Study(Block):
    """A study file. See docs/study-file.md for each field with an example."""

    study: Name
    """The study's name: the first part of every key."""
    description: str = ""
    """What the study asks, in one sentence; the report shows it."""
    seed: int = Field(ge=0)
    """Of everything but training and the split; part of every key."""
    store: str = "runs"
    """A folder, or `s3://bucket/prefix`.

    An S3 store that is not AWS: `s3://bucket/prefix?endpoint=http://host:port`.
    """
    language: Name = "en"
    """Of prompts, checks, flags and the masked view.

    It is a folder under prompts/, or what the study's own `prompts` are in.
    """
    prompts: str | None = None
    """Another folder of prompts, in the study's language.

    What it lacks comes from the project's folder of that language.
    """
    today: date | None = None
    """The date that chat templates are told; none: 2025-01-01.

    Only some templates ask for it; it is the same whenever the study runs.
    """
    patients: Patients
    """Who is trained on, and who is simulated."""
    phases: tuple[Phase, ...] = ()
    """Stretches of a course of therapy. Tuning needs them.

    Phases must cover sessions 1 to the last, without gaps.
    """
    courses: Courses | None = None
    """The generated courses. Tuning needs them."""
    dataset: Dataset = Dataset()
    """What of the courses is trained on."""
    pairs: Mapping[Name, Pairs] = {}
    """Preference pairs that are made of the courses."""
    models: Mapping[Name, Model] = {}
    """The base models, each with its recipe."""
    forms: Mapping[Name, Form] = {}
    """How therapists reply: in parts of which some are said."""
    arms: tuple[Arm, ...] = Field(min_length=1)
    """The therapists that are compared."""
    endpoints: Mapping[str, Endpoint]
    """Where models answer."""
    roles: Roles
    """Who asks which endpoint, and how."""
    sessions: Sessions
    """The simulated sessions."""
    flags: Flags = Flags()
    """Thresholds of the flags."""
    raters: Mapping[Name, Rater] = Field(min_length=1)
    """Who rates the sessions, with which scales."""
    analysis: Analysis = Analysis()
    """How scores are analysed."""
    minimum: Minimum = Minimum()
    """What each stage must yield."""
    budget: Budget = Budget()
    """What the study may cost."""
    engine: Engine = Engine()
    """Where it runs, and how wide."""
    licences: Mapping[str, Terms] = {}
    """Terms of licences that cbt-ray does not know, or knows otherwise."""
    imported: Imported | None = None
    """What `cbt-ray import` brought into the store."""

    _file: Path = PrivateAttr(default=Path("study.yaml"))

    @property
    def file(self) -> Path:
        """The file this study was read from."""
        return self._file

    @property
    def told_date(self) -> str:
        """The date that chat templates are told, as in ISO 8601."""
        return (self.today or TODAY).isoformat()

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Study:
        if info.context != LOOSE:
            checks = (
                self._names_once,
                self._raters,
                self._references,
                self._of_pairs,
                self._needed,
                self._phases_cover,
                self._disjoint,
                self._attainable,
                self._compared,
                self._served,
            )
            problems = [problem for check in checks for problem in check()]
            if problems:
                raise Unfit(problems)
        return self

    def _names_once(self) -> Iterator[str]:
        for where, names in (
            ("arms", [arm.name for arm in self.arms]),
            ("patients.simulated", [patient.name for patient in self.patients.simulated]),
            ("phases", [phase.name for phase in self.phases]),
        ):
            again = twice(names)
            if again is not None:
                yield f"{where}: expected each once, found {again!r} twice"
        named: dict[str, str] = {}
        for number, patient in enumerate(self.patients.simulated):
            other = named.setdefault(patient_slug(patient), patient.name)
            if other != patient.name:
                yield (
                    f"patients.simulated.{number}.name: expected another name, since keys hold "
                    f"letters and digits only and {other!r} has the same"
                )

    def _raters(self) -> Iterator[str]:
        imported = self.imported.judges if self.imported else {}
        read: list[Judge | People] = [*self.judges.values(), *self.people.values()]
        scales = {scale for one in read for scale in one.scales}
        for name, rater in self.raters.items():
            if name in Roles.model_fields:
                yield f"raters.{name}: expected another name than that of a role"
            if name in imported and not isinstance(rater, People):
                yield f"raters.{name}: expected another name than that of an imported judge"
            if isinstance(rater, Rulebook) and name in scales:
                yield f"raters.{name}: expected another name than that of a scale"
            if isinstance(rater, Judge) and rater.probes.which and name != self.probed:
                yield (
                    f"raters.{name}.probes.which: expected none, only {self.probed} is probed, "
                    "which comes first or makes the headline"
                )
        named = self.rater_of(self.analysis.outcomes[0]) if self.analysis.outcomes else None
        if named and self.analysis.judge not in (None, named):
            yield f"analysis.judge: expected {named} or none, since analysis.outcomes.0 names it"
        if self.analysis.primary_outcomes > max(1, len(self.analysis.outcomes)):
            yield (
                f"analysis.primary_outcomes: expected at most {max(1, len(self.analysis.outcomes))}"
                f", the number of outcomes, found {self.analysis.primary_outcomes}"
            )

    def _references(self) -> Iterator[str]:
        for field, block in self.asked.items():
            role = field.rpartition(".")[2]
            yield from self._endpoint_exists(f"{field}.endpoint", block.endpoint)
            endpoint = self.endpoints.get(block.endpoint)
            if role != "therapist" and is_finetuned(endpoint):
                yield (f"{field}.endpoint: expected a fixed model, `{FINETUNED}` is for therapists")
        for number, arm in enumerate(self.arms):
            yield from (f"arms.{number}.{problem}" for problem in self._of_arm(arm))
            if arm.endpoint is not None:
                yield from self._endpoint_exists(f"arms.{number}.endpoint", arm.endpoint)
        for name, model in self.models.items():
            if model.form is not None:
                yield from self._form_exists(f"models.{name}.form", model.form)
                yield from self._form_taught(f"models.{name}.form", model.form)
        if self.courses is not None and self.courses.form is not None:
            yield from self._form_exists("courses.form", self.courses.form)
            if self.courses.write == "parts":
                yield "courses.form: expected none with `write: parts`, only with `write: turns`"

    def _of_arm(self, arm: Arm) -> Iterator[str]:
        """What is wrong with an arm's therapist."""
        if arm.model is not None and arm.model not in self.models:
            yield f"model: unknown model {arm.model!r}, expected one of {sorted(self.models)}"
        if arm.model is None and arm.tuned:
            yield "model: expected the one under `models` that is tuned"
        elif arm.model is None and is_made(self, arm):
            yield f"model: expected one under `models`, of which the `{FINETUNED}` model is made"
        if arm.prompt is not None and arm.tuned:
            yield (
                "prompt: expected none, since a tuned model is asked as it was trained; "
                f"models.{arm.model}.form has a prompt"
            )
        if arm.form is not None and arm.tuned:
            yield f"form: expected none, since models.{arm.model}.form is how it was trained"
        if arm.form is not None:
            yield from self._form_exists("form", arm.form)
        endpoint = self.endpoints.get(self.therapist(arm).endpoint)
        fixed = not (is_made(self, arm) or isinstance(endpoint, ScriptedEndpoint | None))
        if len(seeds_of(self, arm)) > 1 and fixed:
            yield (
                f"endpoint: expected one that is `{FINETUNED}`, since a server's model is one "
                f"checkpoint and models.{arm.model}.seeds is {len(seeds_of(self, arm))}"
            )

    def _compared(self) -> Iterator[str]:
        yield from factor.problems(self.arms, self.factors, self.analysis.contrasts)

    def _served(self) -> Iterator[str]:
        yield from serving.problems(self)

    def _needed(self) -> Iterator[str]:
        """What an arm needs and the file lacks."""
        if self.sessions.count > 1 and self.roles.summariser is None:
            yield "roles.summariser: expected one, since a session follows another"
        if not needs_courses(self):
            return
        found = {
            "patients.training": self.patients.training,
            "courses": self.courses,
            "roles.generator": self.roles.generator,
            "phases": self.phases or None,
        }
        tuned = next((arm.name for arm in self.arms if arm.tuned), None)
        why = f"since {tuned} is tuned on courses" if tuned else "since courses were imported"
        for field, value in found.items():
            if value is None:
                yield f"{field}: expected one, {why}"

    def _endpoint_exists(self, where: str, name: str) -> Iterator[str]:
        if name not in self.endpoints:
            yield f"{where}: unknown endpoint {name!r}, expected one of {sorted(self.endpoints)}"

    def _form_exists(self, where: str, name: str) -> Iterator[str]:
        if name not in self.forms:
            yield f"{where}: unknown form {name!r}, expected one of {sorted(self.forms)}"

    def _of_pairs(self) -> Iterator[str]:
        for name, pairs in self.pairs.items():
            if pairs.form is not None:
                yield from self._form_exists(f"pairs.{name}.form", pairs.form)
        for name, model in self.models.items():
            made = pairs_of(model.recipe)
            if made is None:
                continue
            where = f"models.{name}.recipe.preferences"
            if made not in self.pairs:
                yield f"{where}: unknown pairs {made!r}, expected one of {sorted(self.pairs)}"
            elif self.pairs[made].form != model.form:
                yield f"{where}: expected pairs in the form of models.{name}, {model.form}"

    def _form_taught(self, where: str, name: str) -> Iterator[str]:
        form = self.forms.get(name)
        if form and any(not part.shown for part in form.parts) and self.dataset.format != "turn":
            yield (
                f"{where}: expected `dataset.format: turn`, since {name} has hidden parts, which "
                "are learned as they are written and in no later turn's history"
            )
        hidden = {part.name for part in form.parts if not part.shown} if form else set()
        courses = self.forms.get(self.courses.form or "", PLAIN) if self.courses else PLAIN
        lacking = hidden - {part.name for part in courses.parts if not part.shown}
        if lacking and not (self.imported and self.imported.courses):
            yield (
                f"{where}: expected courses with the hidden parts of {name} (`courses.form`), "
                f"{', '.join(sorted(lacking))} would be in none"
            )

    def _phases_cover(self) -> Iterator[str]:
        if not self.phases:
            return
        expected = 1
        for number, phase in enumerate(self.phases):
            if phase.sessions[0] != expected:
                yield (
                    f"phases.{number}.sessions: expected to begin at session {expected}, found "
                    f"{phase.sessions[0]}"
                )
            expected = phase.sessions[1] + 1
        written = self.courses.sessions if self.courses else 0
        last = max(written, self.sessions.count)
        if expected <= last:
            yield f"phases: expected to cover sessions 1 to {last}, found 1 to {expected - 1}"

    def _disjoint(self) -> Iterator[str]:
        names = self.patients.training.names if self.patients.training else ()
        training = {name.casefold().split()[0] for name in names}
        for number, patient in enumerate(self.patients.simulated):
            if patient.name.casefold().split()[0] in training:
                yield (
                    f"patients.simulated.{number}.name: {patient.name!r} is a training patient, "
                    "expected patients that no model was trained on"
                )

    def _attainable(self) -> Iterator[str]:
        chains = len(self.patients.simulated) * self.sessions.replicates
        held = [len(seeds_of(self, arm)) * chains * self.sessions.count for arm in self.arms]
        if self.minimum.ratings > min(held):
            yield (
                f"minimum.ratings: expected at most the {min(held)} sessions of an arm, found "
                f"{self.minimum.ratings}"
            )
        training, sessions = self.patients.training, sum(held)
        written = training.count * self.courses.sessions if training and self.courses else 0
        for where, what, number in (
            ("patients.training.count", "course sessions", written),
            ("sessions.count", "sessions of all arms", sessions),
            (
                "raters",
                "ratings",
                sessions * sum(len(one.views) * one.replicates for one in self.judges.values()),
            ),
        ):
            if number > MOST:
                yield f"{where}: expected at most {MOST:,} {what}, found {number:,}"

    @property
    def asked(self) -> dict[str, Role]:
        """Every role and every rater that is a model, by its field."""
        roles = {f"roles.{name}": role for name, role in self.roles.named.items()}
        for name, pairs in self.pairs.items():
            sides = {"rejected": pairs.rejected, "chosen": pairs.chosen}
            roles |= {f"pairs.{name}.{side}": role for side, role in sides.items() if role}
        return roles | {f"raters.{name}": rater for name, rater in self.judges.items()}

    def role(self, name: str) -> Role:
        """A role, or a rater that is a model, by its name."""
        if name in self.judges:
            return self.judges[name]
        asked = self.pair_roles
        role: Role = asked[name] if name in asked else getattr(self.roles, name)
        return role

    @property
    def judges(self) -> dict[str, Judge]:
        """The raters that are models."""
        return {name: one for name, one in self.raters.items() if isinstance(one, Judge)}

    @property
    def people(self) -> dict[str, People]:
        """The raters that are people."""
        return {name: one for name, one in self.raters.items() if isinstance(one, People)}

    @property
    def rulebooks(self) -> dict[str, Rulebook]:
        """The raters that are rules."""
        return {name: one for name, one in self.raters.items() if isinstance(one, Rulebook)}

    def rater_of(self, outcome: str) -> str | None:
        """The rater that an outcome names, if it names one: of this study, or imported."""
        first, dot, _ = outcome.partition(".")
        known = [*self.raters, *(self.imported.judges if self.imported else ())]
        return first if dot and first in known else None

    @property
    def headline_judge(self) -> str:
        """Whose ratings make the headline."""
        outcomes = self.analysis.outcomes
        named = self.rater_of(outcomes[0]) if outcomes else None
        return named or self.analysis.judge or next(iter(self.raters))

    @property
    def probed(self) -> str | None:
        """The rater that is probed: the headline's where that is a model, else the first model."""
        name = self.headline_judge
        return name if name in self.judges else next(iter(self.judges), None)

    @property
    def judge(self) -> Judge:
        """The rater that is probed. Only of a study that has a model among its raters."""
        if self.probed is None:
            raise ValueError("raters: expected a model")
        return self.judges[self.probed]

    @property
    def reader(self) -> Judge | People | None:
        """The rater with whose scales and views sessions are rated by default: the headline's, or
        the first that has some; None where all are rules.
        """
        first = self.raters.get(self.headline_judge)
        reads = (one for one in (first, *self.raters.values()) if isinstance(one, Judge | People))
        return next(reads, None)

    @property
    def views(self) -> tuple[str, ...]:
        """What is read of sessions; the first is the headline's."""
        return self.reader.views if self.reader else ("plain",)

    def phase_of(self, session: int) -> Phase:
        """The phase of a session (from 1); one without goals where there are none."""
        return next(
            (phase for phase in self.phases if phase.sessions[0] <= session <= phase.sessions[1]),
            NO_PHASE,
        )

    def therapist(self, arm: Arm) -> Role:
        """The therapist's role in an arm: what all arms share, with what this arm says of its
        own.
        """
        own = {"endpoint": arm.endpoint, "sampling": arm.sampling}
        return self.roles.therapist.model_copy(
            update={name: value for name, value in own.items() if value is not None}
        )

    def form_named(self, name: str | None) -> Form:
        """A form by its name; that of a reply which is said whole without one."""
        return PLAIN if name is None else self.forms[name]

    def teacher(self, recipe: Recipe) -> Role | None:
        """Who writes what a recipe trains on; None where that is a file, or nobody is there."""
        made = pairs_of(recipe)
        if made is not None:
            pairs = self.pairs.get(made)
            return (pairs.chosen if pairs else None) or self.roles.generator
        return self.roles.generator if recipe.method == "sft" else None

    @property
    def trained_pairs(self) -> list[str]:
        """The pairs that a model is trained on, by name."""
        tuned = dict.fromkeys(made.model for made in checkpoints(self) if made.tuned)
        found = (pairs_of(self.models[model].recipe) for model in tuned)
        return list(dict.fromkeys(name for name in found if name and name in self.pairs))

    @property
    def pair_roles(self) -> dict[str, Role]:
        """Who is asked for the pairs that a model is trained on, by name."""
        roles = {}
        for name in self.trained_pairs:
            roles[f"pairs.{name}.rejected"] = self.pairs[name].rejected
            if (chosen := self.pairs[name].chosen) is not None:
                roles[f"pairs.{name}.chosen"] = chosen
        return roles

    def form_of(self, arm: Arm) -> Form:
        """How an arm's therapist replies, and the prompt that asks it to."""
        form = self.form_named(self.form_name(arm))
        return form if arm.prompt is None else form.model_copy(update={"prompt": arm.prompt})

    def form_name(self, arm: Arm) -> str | None:
        """The name of an arm's form; None where the whole reply is said."""
        model = self.models.get(arm.model or "")
        return model.form if arm.tuned and model is not None else arm.form

    @property
    def summariser(self) -> Role | None:
        """Who sums up sessions; None where no session follows another."""
        return self.roles.summariser if self.sessions.count > 1 else None

    def recipe_of(self, made: Checkpoint) -> Recipe:
        """How a checkpoint is trained: the model's recipe, with the checkpoint's own seed."""
        recipe = self.models[made.model].recipe
        return recipe.model_copy(update={"seed": recipe.seed + made.seed}) if made.seed else recipe

    @property
    def writing(self) -> Writing:
        """What courses are written with. Only of a study that has courses."""
        training, courses, generator = self.patients.training, self.courses, self.roles.generator
        if training is None or courses is None or generator is None:
            raise ValueError("patients.training, courses and roles.generator: expected all of them")
        form = self.forms.get(courses.form or "", PLAIN)
        patient = self.roles.course_patient or generator
        return Writing(training, courses, generator, patient, self.roles.critic, form)

    @property
    def factors(self) -> dict[str, Levels]:
        """Arm -> factor -> level, declared or derived."""
        forms = {arm.name: self.form_name(arm) or WHOLE for arm in self.arms}
        therapists = {arm.name: self.therapist(arm) for arm in self.arms}
        return factor.levels_of(self.arms, therapists, forms)

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """What is compared; none where the study only describes."""
        asked = self.analysis.contrasts
        return default_contrasts(self.factors) if asked is None else asked
