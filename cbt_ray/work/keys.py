"""The keys of a study: every unit that a study file derives, before anything ran.

A key hashes what determines its unit: the keys of its inputs, prompt hashes, the model's identity,
sampling and the study's seed. Where and how fast it runs (store, engine, address, threads, retries,
budget) is not in it, nor what only `plan` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from cbt_ray.llm.gguf_file import gguf_identity, weights_identity
from cbt_ray.prompts import Prompts
from cbt_ray.rating.judge import PROMPTS as JUDGE_PROMPTS
from cbt_ray.rating.probe import GUESSES, SWAPPED, VIEW, look_of
from cbt_ray.rating.scale_file import scale_files
from cbt_ray.study import Study
from cbt_ray.study.endpoint import FINETUNED, LlamaCppEndpoint, Role
from cbt_ray.study.model import Arm
from cbt_ray.study.protocol import SimulatedPatient
from cbt_ray.study.study import patient_slug
from cbt_ray.therapy.course import PROMPTS as COURSE_PROMPTS
from cbt_ray.therapy.dialogue import PROMPTS as DIALOGUE_PROMPTS
from cbt_ray.therapy.dialogue import THERAPIST_PROMPT
from cbt_ray.therapy.profile import PROMPTS as PROFILE_PROMPTS
from cbt_ray.unit import Key, Stage, digest
from cbt_ray.work import preferences
from cbt_ray.work.code import code_digest
from cbt_ray.work.inputs import at
from cbt_ray.work.probed import probe_names, probe_prompts, probed_places, variants
from cbt_ray.work.rating_id import rating_id

_NOT_TUNED = {
    *("checkpoint_steps", "memory_gib", "tensorboard", "gate_prompts", "safetensors"),
    *("start", "compare", "compare_revision", "preferences"),
    *("licence", "preferences_licence"),
}
"""Fields of a recipe that do not decide what tuning makes: its pace, what else is kept, paths (a
digest stands for them), the
other arm, licences (which decide the name that it is published under)."""
_NOT_THE_JUDGE = {"replicates", "views", "probes", *Role.model_fields}
"""Fields of a judge that say how much is rated, and not how, or where it is asked."""
_OF_A_GUESS = {"strip", "justification_chars"}
"""Fields of the judge that a guess of the kind of therapist depends on."""
_PLAN_ONLY = {"expected_messages", "expected_tokens", "expected_retries"}


class Keys:
    """Derives the keys of one study. All methods count patients, sessions and replicates from 1."""

    def __init__(self, study: Study, prompts: Prompts) -> None:
        self.study = study
        self.prompts = prompts
        self._prompt_hashes: dict[tuple[str, ...], dict[str, str]] = {}
        self._roles: dict[int, tuple[Role, dict[str, Any]]] = {}
        self._known: dict[tuple[Stage, str], Key] = {}
        self._inputs: dict[Key, tuple[Key, ...]] = {}
        self._imported = imported_digests(study)

    def profile(self, number: int) -> Key:
        """A training patient's profile."""
        patients = self.study.patients.training

        def determinants() -> dict[str, Any]:
            return {
                "number": number,
                "name": patients.names[number - 1] if patients.names else None,
                "characteristics": {
                    name: dict(levels) for name, levels in patients.characteristics.items()
                },
                "chars": patients.narrative_chars,
                "taken": sorted(
                    patient.name.split()[0].casefold() for patient in self.study.patients.simulated
                ),
                "prompts": self._hashes(*PROFILE_PROMPTS),
                "generator": self._role(self.study.roles.generator),
            }

        return self._key(Stage.PROFILES, profile_id(number), determinants)

    def course(self, number: int, session: int) -> Key:
        """One session of a training patient's course."""

        def determinants() -> dict[str, Any]:
            before = self.course(number, session - 1) if session > 1 else self.profile(number)
            return {
                "inputs": [before, self.profile(number)],
                "courses": self.study.courses.model_dump(),
                "phase": self.study.phase_of(session).model_dump(),
                "prompts": self._hashes(*COURSE_PROMPTS),
                "generator": self._role(self.study.roles.generator),
            }

        return self._key(Stage.COURSES, course_id(number, session), determinants)

    def courses(self) -> list[Key]:
        """All sessions of all courses, by patient."""
        numbers = range(1, self.study.patients.training.count + 1)
        return [
            self.course(n, s) for n in numbers for s in range(1, self.study.courses.sessions + 1)
        ]

    def dataset(self) -> Key:
        """The dataset made of all courses."""

        def determinants() -> dict[str, Any]:
            return {
                "inputs": self.courses(),
                "dataset": self.study.dataset.model_dump(),
                "prompts": self._hashes(THERAPIST_PROMPT),
                "stop": [rule.model_dump() for rule in self.study.sessions.stop],
                "phases": [phase.model_dump() for phase in self.study.phases],
            }

        return self._key(Stage.DATASET, self.study.dataset.format, determinants)

    def finetune(self, model: str, variant: str) -> Key:
        """A model as it is served: `tuned` on the dataset, or `instruct`, exported the same way."""
        recipe = self.study.models[model].recipe

        def determinants() -> dict[str, Any]:
            with at(
                self.study, f"models.{model}.recipe.{'start' if variant == 'tuned' else 'compare'}"
            ):
                known = weights_identity(*recipe.base(variant))
            told = self._told()
            if variant != "tuned":
                own = {name: getattr(recipe, name) for name in ("chat_template", "turn_end")}
                other = {name: value for name, value in own.items() if value}
                return {"base": known, "quantization": recipe.quantization, **other, **told}
            unsaid = {"turn_end"} if recipe.turn_end is None else set()
            made: dict[str, Any] = {
                "base": known,
                "inputs": [self.dataset()],
                "recipe": recipe.model_dump(exclude=_NOT_TUNED | unsaid),
                **told,
            }
            if recipe.preferences is not None:
                with at(self.study, f"models.{model}.recipe.preferences"):
                    made["preferences"] = preferences.identity(self.study, recipe)
            return made

        return self._key(Stage.FINETUNE, f"{model}-{variant}", determinants)

    @cached_property
    def finetunes(self) -> list[tuple[str, str]]:
        """The (model, variant) pairs that the arms need: all tuned ones, and the instruct ones that
        are served from our GGUF.

        An arm whose sessions were all imported needs none.
        """
        held = (arm for arm in self.study.arms if not self.all_imported(arm))
        return sorted(
            {
                (arm.model, arm.variant)
                for arm in held
                if arm.variant == "tuned" or self.uses_gguf(arm)
            }
        )

    def all_imported(self, arm: Arm) -> bool:
        """Whether all sessions of an arm were imported."""
        imported, study = self._imported[Stage.SESSIONS], self.study
        if not imported:
            return False
        patients, replicates = study.patients.simulated, range(1, study.sessions.replicates + 1)
        numbers = range(1, study.sessions.count + 1)
        return all(
            session_id(arm, who, r, n) in imported
            for who in patients
            for r in replicates
            for n in numbers
        )

    def uses_gguf(self, arm: Arm) -> bool:
        """Whether the arm's therapist is a GGUF that the finetune stage exported."""
        endpoint = self.study.endpoints[self.study.therapist(arm).endpoint]
        return isinstance(endpoint, LlamaCppEndpoint) and endpoint.gguf == FINETUNED

    def session(self, arm: Arm, patient: int, replicate: int, session: int) -> Key:
        """One simulated session of a chain (arm x patient x replicate)."""
        study, who = self.study, self.study.patients.simulated[patient - 1]
        name = session_id(arm, who, replicate, session)

        def determinants() -> dict[str, Any]:
            before = self.session(arm, patient, replicate, session - 1) if session > 1 else None
            model = (
                [self.finetune(arm.model, arm.variant)]
                if (arm.model, arm.variant) in self.finetunes
                else []
            )
            return {
                "inputs": [*model, *([before] if before else [])],
                "arm": [arm.name, arm.model, arm.variant],
                "patient": who.model_dump(),
                "replicate": replicate,
                "rules": study.sessions.model_dump(exclude=_PLAN_ONLY | {"replicates"}),
                "phase": study.phase_of(session).model_dump(),
                "prompts": self._hashes(arm.prompt or THERAPIST_PROMPT, *DIALOGUE_PROMPTS),
                "therapist": self._role(study.therapist(arm)),
                "patient_model": self._role(study.roles.patient),
                "summariser": self._role(study.roles.summariser),
            }

        return self._key(Stage.SESSIONS, name, determinants)

    def chains(self) -> list[tuple[Arm, int, int]]:
        """All chains: arm, patient, replicate."""
        patients = range(1, len(self.study.patients.simulated) + 1)
        replicates = range(1, self.study.sessions.replicates + 1)
        return [
            (arm, patient, replicate)
            for arm in self.study.arms
            for patient in patients
            for replicate in replicates
        ]

    def chain(self, arm: Arm, patient: int, replicate: int) -> list[Key]:
        """The sessions of a chain in order."""
        return [
            self.session(arm, patient, replicate, n)
            for n in range(1, self.study.sessions.count + 1)
        ]

    def sessions(self) -> list[Key]:
        """All simulated sessions, by chain."""
        return [key for chain in self.chains() for key in self.chain(*chain)]

    def rating(self, session: Key, rater: str, view: str, replicate: int) -> Key:
        """One judgement of a session: a rater, a view, a replicate."""
        own = self.study.raters[rater]

        def determinants() -> dict[str, Any]:
            return {
                "inputs": [session],
                "judge": own.model_dump(exclude=_NOT_THE_JUDGE),
                "view": view,
                "replicate": replicate,
                "prompts": self._hashes(*JUDGE_PROMPTS, *self._scale_files(rater)),
                "role": self._role(own),
                "names": sorted({arm.name for arm in self.study.arms} | set(self.study.models)),
            }

        return self._key(Stage.RATINGS, rating_id(session.id, rater, view, replicate), determinants)

    def ratings(self) -> list[Key]:
        """All judgements, by session."""
        return [key for session in self.sessions() for key in self.ratings_of(session)]

    def ratings_of(self, session: Key) -> list[Key]:
        """The judgements of one session."""
        return [self.rating(session, *judgement) for judgement in self.judgements]

    @cached_property
    def judgements(self) -> list[tuple[str, str, int]]:
        """How each session is judged: rater, view, replicate."""
        return [
            (name, view, n)
            for name, rater in self.study.raters.items()
            for view in rater.views
            for n in range(1, rater.replicates + 1)
        ]

    @cached_property
    def donors(self) -> dict[Key, Key | None]:
        """The sessions that the judge is probed with, each with its arm's session of the next
        patient (none: there is one).
        """
        count, found = len(self.study.patients.simulated), {}
        for arm in self.study.arms:
            for patient, replicate, number in probed_places(self.study):
                other = patient % count + 1
                donor = self.session(arm, other, replicate, number) if other != patient else None
                found[self.session(arm, patient, replicate, number)] = donor
        return found

    def probe(self, session: Key, name: str) -> Key:
        """One probe of the judge: a probed session, spoilt in this way or asked about otherwise,
        and judged once more.
        """
        judge, study = self.study.judge, self.study

        def determinants() -> dict[str, Any]:
            guess, donor = name in GUESSES, self.donors[session] if name == SWAPPED else None
            return {
                "inputs": [session, *([donor] if donor else [])],
                "probe": name,
                "judge": judge.model_dump(include=_OF_A_GUESS)
                if guess
                else judge.model_dump(exclude=_NOT_THE_JUDGE),
                "view": look_of(name, judge.views[0]),
                "kinds": variants(study) if guess else [],
                "prompts": self._hashes(*probe_prompts(name, self._scale_files(study.probed))),
                "role": self._role(judge),
                "names": sorted({arm.name for arm in study.arms} | set(study.models)),
            }

        return self._key(Stage.RATINGS, f"{session.id}.{VIEW}{name}.j1", determinants)

    def probes(self) -> list[tuple[Key, str]]:
        """All probes of the judge, by session: the session and the probe's name."""
        return [(session, name) for session in self.donors for name in probe_names(self.study)]

    def imported_ratings(self) -> list[Key]:
        """All ratings that were imported, by judge."""
        judges = self.study.imported.judges.values() if self.study.imported else ()
        return [
            Key(self.study.study, Stage.RATINGS, name, h16)
            for judge in judges
            for name, h16 in judge.ratings.items()
        ]

    def is_imported(self, key: Key) -> bool:
        """Whether a unit was imported, and so is never made."""
        return self._imported[key.stage].get(key.id) == key.h16

    def analysis(self) -> Key:
        """The analysis of all scores."""

        def determinants() -> dict[str, Any]:
            return {
                "inputs": [*self.sessions(), *self._all_ratings],
                "raters": {
                    name: one.model_dump(exclude={*Role.model_fields})
                    for name, one in self.study.raters.items()
                },
                "analysis": self.study.analysis.model_dump(),
                "flags": self.study.flags.model_dump(),
                "sessions": self.study.sessions.model_dump(exclude=_PLAN_ONLY),
                "phases": [phase.model_dump() for phase in self.study.phases],
                "arms": [[arm.name, arm.model, arm.variant] for arm in self.study.arms],
                "patients": [patient.name for patient in self.study.patients.simulated],
                "code": code_digest("cbt_ray.stages.analyse"),
            }

        return self._key(Stage.ANALYSIS, "scores", determinants)

    def report(self) -> Key:
        """The report on everything."""

        def determinants() -> dict[str, Any]:
            made = [
                *self._before_ratings.values(),
                self.sessions(),
                self._all_ratings,
                [self.analysis()],
            ]
            code = code_digest("cbt_ray.stages.report")
            return {
                "inputs": [key for keys in made for key in keys],
                "description": self.study.description,
                "code": code,
            }

        return self._key(Stage.REPORT, "report", determinants)

    def all(self) -> dict[Stage, list[Key]]:
        """Every unit of the study, by stage in their order."""
        return self._all

    @cached_property
    def _all(self) -> dict[Stage, list[Key]]:
        rated = {Stage.SESSIONS: self.sessions(), Stage.RATINGS: self._all_ratings}
        return {
            **self._before_ratings,
            **rated,
            Stage.ANALYSIS: [self.analysis()],
            Stage.REPORT: [self.report()],
        }

    @cached_property
    def _before_ratings(self) -> dict[Stage, list[Key]]:
        return {
            Stage.PROFILES: [
                self.profile(n) for n in range(1, self.study.patients.training.count + 1)
            ],
            Stage.COURSES: self.courses(),
            Stage.DATASET: [self.dataset()],
            Stage.FINETUNE: [self.finetune(*pair) for pair in self.finetunes],
        }

    @cached_property
    def _all_ratings(self) -> list[Key]:
        return [
            *self.ratings(),
            *(self.probe(*probe) for probe in self.probes()),
            *self.imported_ratings(),
        ]

    def inputs(self, key: Key) -> tuple[Key, ...]:
        """The units that a unit of this study is made from; none of one that was imported."""
        if key not in self._inputs:
            _ = self._all  # a key of somebody else's, whose inputs nobody has derived here yet
        return self._inputs.get(key, ())

    def made_of(self, key: Key) -> list[Key]:
        """The units that are made from a unit, what is concluded last before what it is concluded
        from.
        """
        return self._made_of.get(key, [])

    def with_below(self, stage: Stage) -> set[Stage]:
        """A stage and all whose units decide what becomes of its own: one that is imported rests on
        none.
        """
        found: set[Stage] = set()
        waiting = {stage}
        while waiting:
            one = waiting.pop()
            found.add(one)
            waiting |= self._builds_on[one] - found
        return found

    @cached_property
    def _builds_on(self) -> dict[Stage, set[Stage]]:
        return {
            stage: {one.stage for key in keys for one in self.inputs(key)}
            for stage, keys in self._all.items()
        }

    @cached_property
    def _made_of(self) -> dict[Key, list[Key]]:
        found: dict[Key, list[Key]] = {}
        for stage in reversed(Stage):
            for key in reversed(self._all[stage]):
                for made_from in self.inputs(key):
                    found.setdefault(made_from, []).append(key)
        return found

    def _hashes(self, *names: str) -> dict[str, str]:
        """The hashes of prompts; read once, since hundreds of units ask for the same."""
        if names not in self._prompt_hashes:
            self._prompt_hashes[names] = self.prompts.hash(*names)
        return self._prompt_hashes[names]

    def _scale_files(self, rater: str) -> list[str]:
        return scale_files(self.prompts, *self.study.raters[rater].scales)

    def _role(self, role: Role) -> dict[str, Any]:
        if id(role) not in self._roles:
            self._roles[id(role)] = (role, self._identity(role))
        return self._roles[id(role)][1]

    def _identity(self, role: Role) -> dict[str, Any]:
        endpoint = self.study.endpoints[role.endpoint]
        identity = endpoint.identity()
        if isinstance(endpoint, LlamaCppEndpoint) and endpoint.gguf != FINETUNED:
            with at(self.study, f"endpoints.{role.endpoint}.gguf"):
                identity |= {"gguf": gguf_identity(endpoint.gguf), **self._told()}
        return {
            "model": identity,
            "sampling": role.sampling.model_dump(),
            "attempts": role.attempts,
            "prose": role.prose,
        }

    def _told(self) -> dict[str, Any]:
        """The date that chat templates are told, where the study file says one."""
        return {"today": self.study.told_date} if self.study.today else {}

    def _key(self, stage: Stage, name: str, determinants: Callable[[], dict[str, Any]]) -> Key:
        """A unit's key.

        "inputs" among what determines it are the keys of the units that it is made from.
        """
        if (stage, name) not in self._known:
            h16 = self._imported[stage].get(name)
            inputs: tuple[Key, ...] = ()
            if h16 is None:
                known = determinants()
                inputs = tuple(dict.fromkeys(known.pop("inputs", ())))
                h16 = digest([self.study.seed, stage, name, known, [str(key) for key in inputs]])
            self._known[stage, name] = Key(self.study.study, stage, name, h16)
            self._inputs[self._known[stage, name]] = inputs
        return self._known[stage, name]


def profile_id(number: int) -> str:
    """The readable id of a training patient's profile."""
    return f"p{number:02d}"


def course_id(number: int, session: int) -> str:
    """The readable id of a session of a training patient's course."""
    return f"{profile_id(number)}.s{session:02d}"


def session_id(arm: Arm, patient: SimulatedPatient, replicate: int, session: int) -> str:
    """The readable id of a simulated session."""
    return f"{arm.name}.{patient_slug(patient)}.r{replicate}.s{session:02d}"


def imported_digests(study: Study) -> Mapping[Stage, Mapping[str, str]]:
    """Of every stage the units that were imported: id -> digest of the content, which is their
    h16.
    """
    known: dict[Stage, Mapping[str, str]] = {stage: {} for stage in Stage}
    if study.imported is not None:
        found = study.imported
        ratings = {
            name: h16 for judge in found.judges.values() for name, h16 in judge.ratings.items()
        }
        known |= {
            Stage.PROFILES: found.profiles,
            Stage.COURSES: found.courses,
            Stage.SESSIONS: found.sessions,
        }
        known |= {Stage.RATINGS: ratings}
    return known
