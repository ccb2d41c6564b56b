"""The keys of a study: every unit that a study file derives, before anything ran.

A key hashes what determines its unit: the keys of its inputs, prompt hashes, the model's identity,
sampling, the study's seed and its stage's VERSION. Where and how fast it runs (store, engine,
address, threads, retries, budget) is not in it, nor what only `plan` reads, nor a default.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

from cbt_ray.llm.gguf_file import gguf_identity, weights_identity
from cbt_ray.prompts import Prompts
from cbt_ray.rating.judge import PROMPTS as JUDGE_PROMPTS
from cbt_ray.rating.probe import GUESSES, SWAPPED, VIEW, look_of
from cbt_ray.rating.scale import joined
from cbt_ray.rating.scale_file import load_scales, scale_files
from cbt_ray.study import Study
from cbt_ray.study.block import Block
from cbt_ray.study.confound import confounds
from cbt_ray.study.contrast import Levels
from cbt_ray.study.endpoint import FINETUNED, LlamaCppEndpoint, Role
from cbt_ray.study.form import Form
from cbt_ray.study.lesson import learned_from, learners, patient_of, ratings_for
from cbt_ray.study.model import Arm, Checkpoint
from cbt_ray.study.protocol import Sessions
from cbt_ray.study.rater import Judge
from cbt_ray.study.recipe import pairs_of
from cbt_ray.study.scheduled import (
    all_imported,
    checkpoints,
    is_judge,
    needs_courses,
    patient_slug,
    seeds_of,
    session_id,
)
from cbt_ray.study.serving import servers
from cbt_ray.study.split import profile_id
from cbt_ray.therapy import turnwise
from cbt_ray.therapy.course import PROMPTS as COURSE_PROMPTS
from cbt_ray.therapy.dialogue import FIRST_PROMPT, PATIENT_PROMPTS, SUMMARISER_PROMPTS
from cbt_ray.therapy.language import Language, load_language
from cbt_ray.therapy.profile import profile_prompts
from cbt_ray.unit import Key, Stage, digest
from cbt_ray.work import preferences
from cbt_ray.work.code import code_digest
from cbt_ray.work.determinants import Fields, said
from cbt_ray.work.inputs import at
from cbt_ray.work.probed import kinds_of, probe_names, probe_prompts, probed_places
from cbt_ray.work.rating_id import parse_rating_id, rating_id

VERSION = {
    Stage.PROFILES: 2,
    Stage.COURSES: 1,
    Stage.PAIRS: 2,
    Stage.DATASET: 2,
    Stage.ADAPTER: 1,
    Stage.MODEL: 1,
    Stage.SESSIONS: 2,
    Stage.RATINGS: 1,
    Stage.ANALYSIS: 1,
    Stage.REPORT: 1,
}
"""Raise a stage's when its code makes something else of the same study file, or when a default that
it reads changes: its units, and all that are made from them, are then made anew."""

_NOT_TRAINED = frozenset({"start", "compare", "compare_revision", "preferences", "quantization"})
"""Fields of a recipe that do not decide what training makes: paths (a digest stands for them), the
other arm, and what is made of the adapter."""
_EXPORTED = frozenset({"quantization"})
"""Fields of a recipe that decide what a tuned model is exported as, beside its adapter."""
_COMPARED = _EXPORTED | {"chat_template", "turn_end"}
"""Fields of a recipe that decide what the instruct model is exported as."""
_HOW_MUCH = frozenset({"replicates", "views", "probes"})
"""Fields of a rater that say how much is rated, and not how."""
_ANSWERED = frozenset(
    {"scales", "asked", "items", "views", "strip", "justification_chars", "prose"}
)
"""Fields of a rater that decide what it is asked, and in which form it answers."""
_ASKED = frozenset(Role.model_fields)
"""Fields of a rater that say how it is asked."""
_NOT_A_GUESS = frozenset({"scales", "asked", "items"}) | _HOW_MUCH
"""Fields of a rater that a guess of the kind of therapist does not depend on."""
_LETTERS = frozenset({"letters", "capitals"})
"""Of the language; they reach all that a model writes."""
_SHOWN = frozenset({"opening", "patient", "therapist", "end", "end_of_one"})
"""Words of a transcript, and of the conversation, that the therapist's side reads."""
_READ = frozenset({"patient", "therapist", "end", "end_of_one", "blotted"})
"""Words of a transcript that the judge reads."""
Chain = tuple[Arm, int, int, int]
"""Arm, patient and replicate (from 1), number of the training seed (from 0)."""


class Keys:
    """Derives the keys of one study. All methods count patients, sessions and replicates from 1.

    What was derived is kept, in no order that matters: threads may share one.
    """

    def __init__(
        self, study: Study, prompts: Prompts, code: Callable[[str], str] = code_digest
    ) -> None:
        self.study = study
        self.prompts = prompts
        self.code = code
        """What stands for the code of a stage that costs no call, and follows its code."""
        self._prompt_hashes: dict[tuple[str, ...], dict[str, str]] = {}
        self._therapists: dict[str, Role] = {}
        self._forms: dict[str, Form] = {}
        self._chains: dict[tuple[str, int, int, int], list[Key]] = {}
        self._roles: dict[tuple[int, frozenset[str]], Fields] = {}
        self._blocks: dict[tuple[int, frozenset[str]], Fields] = {}
        self._said: dict[tuple[frozenset[str], ...], Fields] = {}
        self._known: dict[tuple[Stage, str], Key] = {}
        self._inputs: dict[Key, tuple[Key, ...]] = {}
        self._determinants: dict[Key, Callable[[], dict[str, Any]]] = {}
        self._imported = imported_digests(study)

    def profile(self, number: int) -> Key:
        """A training patient's profile."""

        def determinants() -> dict[str, Any]:
            patients = self.study.writing.patients
            drawn = {
                "number": number,
                "name": self.study.name_of(number),
                "characteristics": [
                    [name, dict(levels)] for name, levels in patients.characteristics.items()
                ],
                **({"never": patients.never} if patients.never else {}),
                **({"balanced": patients.balanced} if patients.balanced else {}),
                "prompts": self._hashes(*profile_prompts(patients)),
            }
            if patients.profile is not None:
                return drawn
            return {
                **drawn,
                "narrative_chars": patients.narrative_chars,
                **({"most_alike": patients.most_alike} if patients.most_alike else {}),
                "taken": sorted(
                    patient.name.split()[0].casefold() for patient in self.study.patients.simulated
                ),
                "language": self._words(course=set() if self.study.name_of(number) else {"names"}),
                "roles.generator": self._role(self.study.writing.generator),
            }

        return self._key(Stage.PROFILES, profile_id(number), determinants)

    def course(self, number: int, session: int) -> Key:
        """One session of a training patient's course."""

        def determinants() -> dict[str, Any]:
            before = self.course(number, session - 1) if session > 1 else self.profile(number)
            return {
                "inputs": [before, self.profile(number)],
                "courses": self._once(self.study.writing.courses, frozenset({"form"})),
                "phase": self._once(self.study.phase_of(session)),
                **({"opener": "case"} if self.study.sessions.opener == "case" else {}),
                **self._writing(session),
            }

        return self._key(Stage.COURSES, course_id(number, session), determinants)

    def _writing(self, session: int) -> dict[str, Any]:
        """By whom a course session is written, and with which prompts."""
        writing = self.study.writing
        roles = {f"roles.{name}": self._role(role) for name, role in writing.roles.items()}
        if writing.courses.write == "parts":
            language = self._words(course={"parts", "labels", "farewells"})
            return {"language": language, "prompts": self._hashes(*COURSE_PROMPTS), **roles}
        summed = SUMMARISER_PROMPTS if session < writing.courses.sessions else ()
        return {
            "language": self._words(course={"labels", "farewells"}, transcript=_SHOWN),
            "prompts": self._hashes(*self._turn_prompts, *summed),
            **_form(writing.form),
            **roles,
        }

    @cached_property
    def _turn_prompts(self) -> tuple[str, ...]:
        """The prompts of those who write turns and read them."""
        writing = self.study.writing
        patient = turnwise.PATIENT_PROMPTS if writing.course_patient else ()
        critic = turnwise.CRITIC_PROMPTS if writing.critic else ()
        return (*turnwise.THERAPIST_PROMPTS, *patient, *critic)

    def courses(self) -> list[Key]:
        """All sessions of all courses, by patient; none where no arm needs them."""
        return [key for chain in self.course_chains().values() for key in chain]

    def course_chains(self) -> dict[Key, list[Key]]:
        """A training patient's profile -> the sessions of the course in order."""
        if not needs_courses(self.study):
            return {}
        writing = self.study.writing
        return {
            self.profile(n): [self.course(n, s) for s in range(1, writing.courses.sessions + 1)]
            for n in range(1, writing.patients.count + 1)
        }

    def dataset(self, name: str | None = None) -> Key:
        """The dataset made of all courses, for models that reply in a form."""
        form = self.study.form_named(name)

        def determinants() -> dict[str, Any]:
            return {
                "inputs": self.courses(),
                "dataset": self.study.dataset,
                "tested": sorted(self.study.tested),
                **_form(form),
                "prompts": self._hashes(form.prompt),
                "language": self._words(transcript=_SHOWN),
                "sessions": Fields(self._rules, only=frozenset({"stop"})),
                "phases": self.study.phases,
            }

        kind = self.study.dataset.format + (f"-{name}" if name else "")
        return self._key(Stage.DATASET, kind, determinants)

    def datasets(self) -> dict[str | None, Key]:
        """The datasets of all forms that a model is trained in; none where no arm needs courses."""
        if not needs_courses(self.study):
            return {}
        tuned = [made.model for made in self.therapists if made.tuned]
        names = dict.fromkeys(self.study.models[model].form for model in tuned) or {None: None}
        return {name: self.dataset(name) for name in names}

    def lessons(self, model: str) -> Key:
        """The examples that a model learns to judge from: sessions, and what people said of
        them.
        """
        judge = learners(self.study)[model]

        def determinants() -> dict[str, Any]:
            held = {key.id: key for key in self.sessions()}
            rated = {
                key: held[session]
                for key in self.imported_ratings()
                if key.id in self._taught_with[model]
                and (session := parse_rating_id(key.id)[0]) in held
            }
            return {
                "inputs": [*rated.values(), *rated],
                "learns": self.study.models[model].learns,
                "judge": Fields(judge, only=_ANSWERED),
                "language": self._looked("masked" if "masked" in judge.views else "plain"),
                "prompts": self._hashes(*JUDGE_PROMPTS, *scale_files(self.prompts, *judge.scales)),
                "names": self._names,
            }

        return self._key(Stage.DATASET, f"ratings-{model}", determinants)

    @cached_property
    def learners(self) -> dict[str, Key]:
        """The models that learn to judge, each with its examples."""
        return {model: self.lessons(model) for model in learners(self.study)}

    @cached_property
    def taught(self) -> list[Key]:
        """The units that are made from imported ratings: examples, and the judges that they
        make.
        """
        judges = [made for made in self.models if is_judge(self.study, made)]
        adapters, models = map(self.adapter, judges), map(self.model, judges)
        return [*self.learners.values(), *adapters, *models]

    @cached_property
    def _taught_with(self) -> dict[str, set[str]]:
        return {model: set(ratings_for(self.study, model)) for model in learners(self.study)}

    def pair(self, name: str, number: int, session: int) -> Key:
        """The preference pairs of one session of a training patient's course."""
        study, block = self.study, self.study.pairs[name]
        form = study.form_named(block.form)

        def determinants() -> dict[str, Any]:
            return {
                "inputs": [self.course(number, session)],
                **{f"pairs.{name}.{side}": self._role(role) for side, role in block.sides.items()},
                **_form(form),
                "prompts": self._hashes(form.prompt),
                "language": self._words(transcript=_SHOWN),
                "sessions": Fields(self._rules, only=frozenset({"stop"})),
                "phase": self._once(study.phase_of(session)),
            }

        return self._key(Stage.PAIRS, f"{name}.{course_id(number, session)}", determinants)

    def pairs(self) -> dict[tuple[str, int, int], Key]:
        """All pairs that a model is trained on: name, training patient, session."""
        if not self.study.trained_pairs:
            return {}
        writing = self.study.writing
        return {
            (name, number, session): self.pair(name, number, session)
            for name in self.study.trained_pairs
            for number in range(1, writing.patients.count + 1)
            for session in range(1, writing.courses.sessions + 1)
        }

    def pairs_named(self, name: str) -> list[Key]:
        """The pairs of one name."""
        return [key for (pairs, _, _), key in self.pairs().items() if pairs == name]

    def adapter(self, made: Checkpoint) -> Key:
        """What training makes of a model, and its export builds on."""
        recipe = self.study.recipe_of(made)

        def determinants() -> dict[str, Any]:
            base: dict[str, Any] = {"start": self._weights(made)}
            made_pairs = pairs_of(recipe)
            if recipe.preferences is not None and made_pairs is None:
                with at(self.study, f"models.{made.model}.recipe.preferences"):
                    base["preferences"] = preferences.identity(self.study, recipe)
            own = Fields(recipe, but=_NOT_TRAINED, also=base)
            form = self.study.models[made.model].form
            judges = is_judge(self.study, made)
            trained_on = self.lessons(made.model) if judges else self.dataset(form)
            own_pairs = self.pairs_named(made_pairs) if made_pairs is not None else []
            return {"inputs": [trained_on, *own_pairs], "recipe": own, **self._told()}

        return self._key(Stage.ADAPTER, made.id, determinants)

    def model(self, made: Checkpoint) -> Key:
        """A model as it is served: made of the adapter that is the best, or exported the same way
        as it is.
        """
        recipe = self.study.recipe_of(made)

        def determinants() -> dict[str, Any]:
            if made.tuned:
                adapters = [self.adapter(one) for one in self.study.candidates(made)]
                return {"inputs": adapters, "recipe": Fields(recipe, only=_EXPORTED)}
            own = Fields(recipe, only=_COMPARED, also={"compare": self._weights(made)})
            return {"recipe": own, **self._told()}

        return self._key(Stage.MODEL, made.id, determinants)

    def _weights(self, made: Checkpoint) -> Any:
        """What stands for the weights that a model is made of."""
        field = "start" if made.tuned else "compare"
        with at(self.study, f"models.{made.model}.recipe.{field}"):
            return weights_identity(*self.study.recipe_of(made).base(made.tuned))

    @cached_property
    def factors(self) -> Mapping[str, Levels]:
        """Arm -> factor -> level."""
        return self.study.factors

    @cached_property
    def models(self) -> list[Checkpoint]:
        """The models that are exported, as the arms need them."""
        return checkpoints(self.study)

    @property
    def tuned(self) -> list[Checkpoint]:
        """What is trained for those of them that are tuned: of a search, every candidate."""
        tuned = [made for made in self.models if made.tuned]
        return [one for made in tuned for one in self.study.candidates(made)]

    @property
    def therapists(self) -> list[Checkpoint]:
        """Those of them with which sessions are held."""
        asked = {
            self.made_for(arm, seed)
            for arm in self.study.arms
            for seed in seeds_of(self.study, arm)
        }
        return [made for made in self.models if made in asked]

    @property
    def judge_models(self) -> list[str]:
        """The models that raters are, where they are exported ones."""
        judges = self.study.judges.values()
        return list(dict.fromkeys(one.made.model for one in judges if one.made and one.replicates))

    def all_imported(self, arm: Arm) -> bool:
        """Whether all sessions of an arm were imported."""
        return all_imported(self.study, arm)

    def made_for(self, arm: Arm, seed: int = 0) -> Checkpoint | None:
        """What is exported for an arm, of one training seed; None where nothing."""
        made = Checkpoint(arm.model, arm.tuned, seed) if arm.model is not None else None
        return made if made in self.models else None

    def served(self, made: Checkpoint, endpoint: str) -> Key:
        """What a server of vLLM was found to say in a checkpoint's place; no unit of a stage."""
        known = said({"endpoint": Fields(self.study.endpoints[endpoint])})
        name = f"{made.id}.served"
        return key_of(self.study.study, Stage.MODEL, name, known, [self.model(made)])

    @cached_property
    def verdicts(self) -> Mapping[Checkpoint, list[Key]]:
        """Checkpoint -> what its servers of vLLM were found to say."""
        found: dict[Checkpoint, list[Key]] = {}
        for server, held in servers(self.study).items():
            for made in held:
                found.setdefault(made, []).append(self.served(made, server.endpoint))
        return found

    def session(self, arm: Arm, patient: int, replicate: int, session: int, seed: int = 0) -> Key:
        """One simulated session of a chain (arm x patient x replicate x training seed)."""
        study, who, form = self.study, self.study.simulated[patient - 1], self._form(arm)
        name = session_id(arm, who, replicate, session, seed)

        def determinants() -> dict[str, Any]:
            before = (
                [self.session(arm, patient, replicate, session - 1, seed)] if session > 1 else []
            )
            made = self.made_for(arm, seed)
            written = self.written_as(patient)
            return {
                "inputs": [
                    *([self.model(made)] if made else []),
                    *([self.profile(written)] if written else []),
                    *before,
                ],
                "arm": [arm.name, arm.model, arm.kind],
                "patient": self._once(who),
                "replicate": replicate,
                "sessions": self._once(self._rules, frozenset({"replicates"})),
                "language": self._words(transcript=_SHOWN),
                "phase": self._once(study.phase_of(session)),
                "prompts": self._hashes(form.prompt, *self._dialogue_prompts),
                **_form(form),
                "roles.therapist": self._role(self._therapist(arm)),
                **self._patient,
                **(self._summary() if session < study.sessions.count else {}),
            }

        return self._key(Stage.SESSIONS, name, determinants)

    def written_as(self, patient: int) -> int | None:
        """The number of the training patient that a simulated one is; None where the study file
        has the profile.
        """
        return self._tested[patient - 1] if self._tested else None

    @cached_property
    def _tested(self) -> list[int]:
        return list(self.study.tested.values())

    @cached_property
    def _dialogue_prompts(self) -> tuple[str, ...]:
        """The prompts of what the patient says."""
        opened = (FIRST_PROMPT,) if self.study.sessions.opener == "greeting" else ()
        return opened + (PATIENT_PROMPTS if self.study.patient_role else ())

    @cached_property
    def references(self) -> list[Key]:
        """The courses of tested patients, where rules compare labels with the generator's."""
        compared = self._tested if self.study.label_field else ()
        return [self.course(number, 1) for number in compared]

    @cached_property
    def _patient(self) -> dict[str, Fields]:
        """Who plays the patient, where anybody does."""
        role = self.study.patient_role
        return {} if role is None else {"roles.patient": self._role(role)}

    def chains(self) -> list[Chain]:
        """All chains: arm, patient, replicate, number of the training seed."""
        patients = range(1, len(self.study.simulated) + 1)
        replicates = range(1, self.study.sessions.replicates + 1)
        return [
            (arm, patient, replicate, seed)
            for arm in self.study.arms
            for seed in seeds_of(self.study, arm)
            for patient in patients
            for replicate in replicates
        ]

    def chain(self, arm: Arm, patient: int, replicate: int, seed: int = 0) -> list[Key]:
        """The sessions of a chain in order."""
        place = arm.name, patient, replicate, seed
        if place not in self._chains:
            self._chains[place] = [
                self.session(arm, patient, replicate, n, seed)
                for n in range(1, self.study.sessions.count + 1)
            ]
        return self._chains[place]

    def sessions(self) -> list[Key]:
        """All simulated sessions, by chain."""
        return [key for chain in self.chains() for key in self.chain(*chain)]

    def rating(self, session: Key, rater: str, view: str, replicate: int) -> Key:
        """One judgement of a session: a rater, a view, a replicate."""
        own = self.study.judges[rater]

        def determinants() -> dict[str, Any]:
            return {
                "inputs": [session, *self._made(own)],
                f"raters.{rater}": self._role(own, _HOW_MUCH),
                "language": self._looked(view),
                "view": view,
                "replicate": replicate,
                "prompts": self._hashes(*JUDGE_PROMPTS, *self._scale_files[rater]),
                "names": self._names,
            }

        return self._key(Stage.RATINGS, rating_id(session.id, rater, view, replicate), determinants)

    def ratings(self) -> list[Key]:
        """All judgements, by session."""
        return [key for session in self.sessions() for key in self.ratings_of(session)]

    def ratings_of(self, session: Key) -> list[Key]:
        """The judgements of one session."""
        return [self.rating(session, *judgement) for judgement in self.judgements_of(session)]

    def judgements_of(self, session: Key) -> list[tuple[str, str, int]]:
        """How one session is judged: by nobody who learned from its patient."""
        return [one for one in self.judgements if not self.knows(one[0], session)]

    def knows(self, rater: str, session: Key) -> bool:
        """Whether a rater learned from what people said of a session's patient."""
        return patient_of(session.id) in self.taught_by.get(rater, ())

    @cached_property
    def taught_by(self) -> Mapping[str, frozenset[str]]:
        """Rater -> the patients that it learned from, as keys hold their names."""
        return {name: learned_from(self.study, judge) for name, judge in self.study.judges.items()}

    @cached_property
    def judgements(self) -> list[tuple[str, str, int]]:
        """How sessions are judged: rater, view, replicate."""
        return [
            (name, view, n)
            for name, rater in self.study.judges.items()
            for view in rater.views
            for n in range(1, rater.replicates + 1)
        ]

    @cached_property
    def donors(self) -> dict[Key, Key | None]:
        """The sessions that the judge is probed with, of the first training seed, each with its
        arm's session of the next patient (none: there is one).
        """
        known, found = self.taught_by.get(self.study.probed or "", ()), {}
        simulated = enumerate(self.study.simulated, 1)
        free = [number for number, who in simulated if patient_slug(who) not in known]
        for arm in self.study.arms:
            for patient, replicate, number in probed_places(self.study):
                other = free[(free.index(patient) + 1) % len(free)]
                donor = self.session(arm, other, replicate, number) if other != patient else None
                found[self.session(arm, patient, replicate, number)] = donor
        return found

    def probe(self, session: Key, name: str) -> Key:
        """One probe of the judge: a probed session, spoilt in this way or asked about otherwise,
        and judged once more.
        """
        judge, study, rater = self.study.judge, self.study, self.study.probed or ""

        def determinants() -> dict[str, Any]:
            guess, donor = name in GUESSES, self.donors[session] if name == SWAPPED else None
            return {
                "inputs": [session, *([donor] if donor else []), *self._made(judge)],
                "probe": name,
                f"raters.{rater}": self._role(judge, _NOT_A_GUESS if guess else _HOW_MUCH),
                "language": self._looked(
                    look_of(name, judge.views[0]), *(["silence"] if name == "empty" else [])
                ),
                "view": look_of(name, judge.views[0]),
                "kinds": kinds_of(study) if guess else [],
                **({"expertise": self._expertise} if guess else {}),
                "prompts": self._hashes(*probe_prompts(name, self._scale_files[rater])),
                "names": self._names,
            }

        return self._key(Stage.RATINGS, f"{session.id}.{VIEW}{name}.j1", determinants)

    def _made(self, judge: Judge) -> list[Key]:
        """The model that a judge is, where the study exports it."""
        return [self.model(judge.made)] if judge.made else []

    @cached_property
    def _names(self) -> list[str]:
        """Names that a judge never reads."""
        return sorted({arm.name for arm in self.study.arms} | set(self.study.models))

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
        published = self.study.imported.mapping if self.study.imported else None

        def determinants() -> dict[str, Any]:
            return {
                "inputs": [*self.sessions(), *self._all_ratings, *self.references],
                **({"published": published} if published else {}),
                "raters": {
                    name: Fields(one, but=_ASKED if isinstance(one, Judge) else frozenset())
                    for name, one in self.study.raters.items()
                },
                "analysis": self.study.analysis,
                "flags": self._language.rules(self.study.thresholds),
                "language": [
                    self._language.name,
                    Fields(self._language, only=_LETTERS | {"replayed", "masked"}),
                ],
                "sessions": self._rules,
                "phases": self.study.phases,
                "arms": {arm: dict(levels) for arm, levels in self.factors.items()},
                "contrasts": self.study.contrasts,
                "confounds": [asdict(one) for one in confounds(self.study)],
                "patients": [patient.name for patient in self.study.simulated],
                "code": self.code("cbt_ray.stages.analyse"),
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
            return {
                "inputs": [key for keys in made for key in keys],
                "description": self.study.description,
                "code": self.code("cbt_ray.stages.report"),
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
        chains = self.course_chains()
        return {
            Stage.PROFILES: list(chains),
            Stage.COURSES: self.courses(),
            Stage.PAIRS: list(self.pairs().values()),
            Stage.DATASET: [*self.datasets().values(), *self.learners.values()],
            Stage.ADAPTER: [self.adapter(made) for made in self.tuned],
            Stage.MODEL: [self.model(made) for made in self.models],
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

    def determinants(self, key: Key) -> dict[str, Any]:
        """What a unit's key is made from beside the keys of its inputs, as `said` takes it; of an
        imported unit, nothing.
        """
        if key not in self._determinants:
            _ = self._all
        found = self._determinants.get(key)
        return found() if found else {}

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

    @cached_property
    def _expertise(self) -> str:
        """What the probed judge is an expert in."""
        with at(self.study, f"raters.{self.study.probed}.scales"):
            return joined(load_scales(self.prompts, self.study.judge.scales)).expertise

    @cached_property
    def _scale_files(self) -> Mapping[str, list[str]]:
        """Rater -> the files of its scales."""
        return {
            name: scale_files(self.prompts, *rater.scales)
            for name, rater in self.study.judges.items()
        }

    @cached_property
    def _language(self) -> Language:
        with at(self.study, "language"):
            return load_language(self.prompts)

    @cached_property
    def _rules(self) -> Sessions:
        return self._language.sessions(self.study.sessions)

    def _words(
        self,
        *own: str,
        course: Collection[str] = (),
        transcript: Collection[str] = (),
    ) -> Fields:
        """What of the language reaches a unit."""
        known = (frozenset(own), frozenset(course), frozenset(transcript))
        if known not in self._said:
            self._said[known] = self._language_fields(*known)
        return self._said[known]

    def _language_fields(
        self, own: frozenset[str], course: frozenset[str], transcript: frozenset[str]
    ) -> Fields:
        language = self._language
        also = {
            name: Fields(block, only=fields)
            for name, block, fields in (
                ("course", language.course, course),
                ("transcript", language.transcript, transcript),
            )
            if fields
        }
        return Fields(language, only=_LETTERS | own, also=also)

    def _looked(self, view: str, *more: str) -> Fields:
        """What of the language the judge reads."""
        return self._words(*(["masked"] if view == "masked" else []), transcript={*_READ, *more})

    def _summary(self) -> dict[str, Any]:
        """What determines a session's summary for the next one."""
        summariser = self.study.summariser
        if summariser is None:
            raise ValueError("roles.summariser: expected one")
        return {
            "roles.summariser": self._role(summariser),
            "summary_prompts": self._hashes(*SUMMARISER_PROMPTS),
        }

    def _therapist(self, arm: Arm) -> Role:
        """The role of an arm, as one object."""
        if arm.name not in self._therapists:
            self._therapists.setdefault(arm.name, self.study.therapist(arm))
        return self._therapists[arm.name]

    def _form(self, arm: Arm) -> Form:
        """How an arm's therapist replies, as one object."""
        if arm.name not in self._forms:
            self._forms.setdefault(arm.name, self.study.form_of(arm))
        return self._forms[arm.name]

    def _once(self, block: Block, but: frozenset[str] = frozenset()) -> Fields:
        """A block that is the same in hundreds of units: what it says is taken once.

        What is kept holds the block, so that no other one gets its id.
        """
        known = id(block), but
        if known not in self._blocks:
            self._blocks[known] = Fields(block, but=but)
        return self._blocks[known]

    def _role(self, role: Role, but: frozenset[str] = frozenset()) -> Fields:
        known = id(role), but
        if known not in self._roles:
            self._roles[known] = self._identity(role, but)
        return self._roles[known]

    def _identity(self, role: Role, but_these: frozenset[str]) -> Fields:
        """A role or a rater, and in place of its endpoint's name what that is."""
        endpoint = self.study.endpoints[role.endpoint]
        told: dict[str, Any] = {}
        if isinstance(endpoint, LlamaCppEndpoint) and endpoint.gguf != FINETUNED:
            with at(self.study, f"endpoints.{role.endpoint}.gguf"):
                told = {"gguf": gguf_identity(endpoint.gguf), **self._told()}
        but = frozenset({"gguf"} if "gguf" in told else ())
        model = Fields(endpoint, but=but, also=told)
        return Fields(role, but=but_these | {"endpoint"}, also={"endpoint": model})

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
            if h16 is not None:
                key = Key(self.study.study, stage, name, h16)
            else:
                inputs, known = self._split(stage, determinants)
                key = key_of(self.study.study, stage, name, said(known), inputs)
                self._determinants[key] = lambda: self._split(stage, determinants)[1]
            self._inputs[key] = inputs
            self._known[stage, name] = key  # last: who finds it here finds the rest
        return self._known[stage, name]

    def _split(
        self, stage: Stage, determinants: Callable[[], dict[str, Any]]
    ) -> tuple[tuple[Key, ...], dict[str, Any]]:
        """The units that one is made from, and all else that determines it."""
        known = {"seed": self.study.seed, "version": VERSION[stage], **determinants()}
        return tuple(dict.fromkeys(known.pop("inputs", ()))), known


def _form(form: Form) -> dict[str, Any]:
    """The form of a reply, where it has one; its prompt is hashed apart."""
    return {"form": Fields(form, but=frozenset({"prompt"}))} if form.parts else {}


def key_of(
    study: str, stage: Stage, name: str, determinants: dict[str, Any], inputs: Iterable[Key]
) -> Key:
    """A unit's key, of what determines it as it is said and recorded, and the keys of its
    inputs.
    """
    made_from = sorted(map(str, inputs))
    return Key(study, stage, name, digest([stage, name, determinants, made_from]))


def course_id(number: int, session: int) -> str:
    """The readable id of a session of a training patient's course."""
    return f"{profile_id(number)}.s{session:02d}"


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
