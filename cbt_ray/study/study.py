"""The study: the whole study file, with what its blocks demand of each other."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from cbt_ray.study import factor
from cbt_ray.study.block import Block, Name, Several, Share
from cbt_ray.study.contrast import Contrast, Levels, default_contrasts
from cbt_ray.study.endpoint import (
    Endpoint,
    Role,
    Roles,
)
from cbt_ray.study.fit import unfit
from cbt_ray.study.form import PLAIN, WHOLE, Form
from cbt_ray.study.imported import Imported
from cbt_ray.study.model import Analysis, Arm, Checkpoint, Dataset, Model
from cbt_ray.study.pairs import Pairs
from cbt_ray.study.patients import Patients, SimulatedPatient
from cbt_ray.study.protocol import Courses, Flags, Phase, Sessions
from cbt_ray.study.rater import Judge, People, Rater, Rulebook
from cbt_ray.study.recipe import Recipe, pairs_of
from cbt_ray.study.scheduled import (
    Writing,
    checkpoints,
)
from cbt_ray.study.split import Divided, Split, divided, profile_id
from cbt_ray.study.terms import Terms

TODAY = date(2025, 1, 1)
NO_PHASE = Phase(name="all", sessions=(1, 1000), goals="", techniques="")
"""Of a study without phases."""
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
    """The date that chat templates get; none: 2025-01-01.

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
    """How therapists reply: in parts, of which the patient reads some."""
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
    _divided: Divided | None = PrivateAttr(default=None)

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
            problems = list(unfit(self))
            if problems:
                raise Unfit(problems)
        return self

    @property
    def split(self) -> Split:
        """Which training patients are tested, and which persona each is."""
        return self._division.split

    @property
    def simulated(self) -> tuple[SimulatedPatient, ...]:
        """With whom sessions are held: as given or drawn, else the tested ones, whose profiles are
        not written yet.
        """
        return self.patients.simulated or self._division.simulated

    @property
    def tested(self) -> Mapping[str, int]:
        """The tested patients with whom sessions are held: id -> number; none where the file has
        others to simulate.
        """
        return self._division.tested

    @property
    def _division(self) -> Divided:
        """How this file's training patients are divided, drawn once."""
        made_of = id(self.patients), id(self.dataset), self.seed
        if self._divided is None or self._divided.made_of != made_of:
            self._divided = divided(self, made_of)
        return self._divided

    @property
    def asked(self) -> dict[str, Role]:
        """Every role and every rater that is a model, by its field."""
        roles = {f"roles.{name}": role for name, role in self.roles.named.items()}
        for name, pairs in self.pairs.items():
            roles |= {f"pairs.{name}.{side}": role for side, role in pairs.sides.items()}
        return roles | {f"raters.{name}": rater for name, rater in self.judges.items()}

    def role(self, name: str) -> Role:
        """A role, or a rater that is a model, by its name."""
        if name in self.judges:
            return self.judges[name]
        if name.startswith("pairs."):
            _, pairs, side = name.split(".")
            return self.pairs[pairs].sides[side]
        role: Role = getattr(self.roles, name)
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
        found = (pairs_of(self.models[name].recipe) for name in tuned if name in self.models)
        return list(dict.fromkeys(name for name in found if name and name in self.pairs))

    @property
    def pair_roles(self) -> dict[str, Role]:
        """Who is asked for the pairs that a model is trained on, by name."""
        return {
            f"pairs.{name}.{side}": role
            for name in self.trained_pairs
            for side, role in self.pairs[name].sides.items()
        }

    def form_of(self, arm: Arm) -> Form:
        """How an arm's therapist replies, and the prompt that asks it to."""
        form = self.form_named(self.form_name(arm))
        return form if arm.prompt is None else form.model_copy(update={"prompt": arm.prompt})

    def form_name(self, arm: Arm) -> str | None:
        """The name of an arm's form; None where the whole reply is said."""
        model = self.models.get(arm.model or "")
        return model.form if arm.tuned and model is not None else arm.form

    @property
    def patient_role(self) -> Role | None:
        """Who plays the simulated patients; None where a first message is all that they say."""
        return self.roles.patient if self.sessions.patient_speaks else None

    def name_of(self, number: int) -> str | None:
        """A training patient's name; None where the generator chooses one. A case has none but its
        number.
        """
        names = self.patients.training.names if self.patients.training else ()
        if names:
            return names[number - 1]
        return profile_id(number) if self.sessions.opener == "case" else None

    @property
    def label_field(self) -> str | None:
        """The field whose labels rules compare with the generator's; None where none does."""
        rules = (rule for book in self.rulebooks.values() for rule in book.rules.values())
        return next((rule.field for rule in rules if rule.labels), None)

    @property
    def thresholds(self) -> Flags:
        """Those of the flags; a session that has no room for more therapist turns has enough."""
        room = min(self.flags.few_therapist_turns, self.sessions.max_messages // 2)
        return self.flags.model_copy(update={"few_therapist_turns": room})

    @property
    def summariser(self) -> Role | None:
        """Who sums up sessions; None where no session follows another."""
        return self.roles.summariser if self.sessions.count > 1 else None

    def recipe_of(self, made: Checkpoint) -> Recipe:
        """How a checkpoint is trained: the model's recipe, with the checkpoint's own seed and, of
        a candidate of a search, its values.
        """
        recipe = self.models[made.model].recipe
        own = recipe.tried(made.tried) if recipe.search else recipe
        return own.model_copy(update={"seed": own.seed + made.seed}) if made.seed else own

    def candidates(self, made: Checkpoint) -> list[Checkpoint]:
        """The trainings that a tuned model is chosen from: itself where nothing is searched."""
        tries = self.models[made.model].recipe.tries
        return [made._replace(tried=tried) for tried in tries]

    @property
    def writing(self) -> Writing:
        """What courses are written with. Only of a study that has courses."""
        training, courses, generator = self.patients.training, self.courses, self.roles.generator
        if training is None or courses is None or generator is None:
            raise ValueError("patients.training, courses and roles.generator: expected all of them")
        form = self.forms.get(courses.form or "", PLAIN)
        given = self.sessions.opener == "case" and courses.exchanges == 1
        patient = None if given else self.roles.course_patient or generator
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
