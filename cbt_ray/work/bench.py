"""The bench: what every stage of one run shares on the driver's side, and the one way in which a
stage is carried out.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

from cbt_ray.count import many
from cbt_ray.errors import (
    BelowMinimum,
    BudgetReached,
    CbtRayError,
    Infrastructure,
    InputError,
    ModelFailure,
    Owed,
    WorkerDied,
)
from cbt_ray.llm.models import Models, probe
from cbt_ray.prompts import Prompts
from cbt_ray.store import Store, open_store
from cbt_ray.study import Study
from cbt_ray.study.endpoint import LiteLLMEndpoint, Role, Sampling
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.engine import Engine, open_engine
from cbt_ray.work.inputs import at, check_endpoints, check_prompts
from cbt_ray.work.job import Job, Work, name_of
from cbt_ray.work.keys import Keys
from cbt_ray.work.origin import Origins
from cbt_ray.work.progress import Progress
from cbt_ray.work.survey import State, Survey
from cbt_ray.work.usage import Costs, record_calls, record_run
from cbt_ray.work.workshop import prompts_of


@dataclass
class Bench:
    """One run of one or more stages."""

    study: Study
    progress: Progress
    inline: bool = False
    only: str | None = None
    """The name of one job; none: all that is owed."""
    arguments: tuple[str, ...] = ()
    """Study file and `--set` as the command line gave them: what a command that is shown to the
    user begins with."""
    checked: bool = True
    """Whether what models are told is checked at once; `preflight` does it together with the rest.
    """
    store: Store = field(init=False)
    prompts: Prompts = field(init=False)
    keys: Keys = field(init=False)
    origins: Origins = field(init=False)
    _complete: Survey | None = field(init=False, default=None)
    _engine: Engine | None = field(init=False, default=None)
    _proven: set[tuple[str, Sampling]] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        with at(self.study):
            self.store = open_store(self.study.store)
        self.prompts = prompts_of(self.study)
        if self.checked:
            check_prompts(self.study, self.prompts)
        self.keys = Keys(self.study, self.prompts)
        self.origins = Origins(self.keys, self.store)

    @property
    def engine(self) -> Engine:
        """The engine, opened when there is something to do.

        It starts from what the study has cost so far.
        """
        if self._engine is None:
            spent = Costs(self.store, self.study.study).total
            self._engine = open_engine(
                self.study, self.store.url, spent, self.progress.say, inline=self.inline
            )
        return self._engine

    def close(self) -> None:
        """Let go of the engine."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def survey(self, *stages: Stage) -> Survey:
        """The state of these stages' units now."""
        return self._complete or Survey(self.keys, self.store, stages)

    def renewed(self, *stages: Stage) -> Survey:
        """The state of these stages' units, once those that were made from what is there no more
        were moved aside.
        """
        survey = self.survey(*stages)
        if outdated := survey.outdated():
            self.origins.set_aside(outdated)
            survey = self.survey(*stages)
        return survey

    def without(self, unit: Unit) -> Survey:
        """Move a unit aside that is to be made anew; answers the state of all units then."""
        self._complete = None
        self.store.set_aside(str(unit.key), seen=unit.to_bytes())
        return self.survey(*Stage)

    def is_complete(self) -> bool:
        """Whether nothing is owed in any stage.

        Then no stage looks again, until something is made.
        """
        survey = self.renewed(*Stage)
        self._complete = None if any(map(survey.owed, Stage)) else survey
        return self._complete is not None

    def carry_out(
        self, stage: Stage, work: Work, jobs: Sequence[Job], owed: int, roles: dict[str, list[Role]]
    ) -> None:
        """Run a stage's jobs beside each other until nothing is owed.

        `roles` are those that the stage calls, by name; their endpoints are proven first. Raises
        Owed where units stay owed, and what stops the stage (a refused key, the budget).
        """
        if not jobs:
            return
        jobs = self._chosen(stage, jobs)
        self._complete = None
        self.check_store()
        self.prove({stage: roles})
        begun = time.monotonic()
        left: list[str] = []
        stop: CbtRayError | None = None
        with self.progress.stage(stage, owed, self._spent) as watch:
            for outcome in self.engine.run(work, jobs, roles, watch):
                left += outcome.owed
                stop = stop or outcome.stop
        record_run(self.store, self.study.study, stage, time.monotonic() - begun)
        if isinstance(stop, WorkerDied):
            raise WorkerDied(
                f"{stage}: {stop}; to see it happen: {self._alone(stage, stop.job)}", stop.job
            )
        if stop is not None:
            raise stop
        still = self.survey(stage).owed(stage) if not left else []
        if still and self.only:
            raise Owed(
                f"{stage}: {self.only} is done, {many(len(still), 'unit')} still owed: run again "
                "without --only"
            )
        left += [f"{key.id}: not in the store" for key in still]
        if left:
            [(shown, _)] = Counter(left).most_common(1)
            raise Owed(
                f"{stage}: {len(left)} of {many(len(jobs), 'job')} still owed, run again ({shown})"
            )

    def _spent(self) -> str:
        return f"{self.engine.spent()} so far"

    def _chosen(self, stage: Stage, jobs: Sequence[Job]) -> Sequence[Job]:
        """The jobs that `--only` asks for."""
        if self.only is None:
            return jobs
        chosen = [job for job in jobs if name_of(job) == self.only]
        if not chosen:
            names = ", ".join(name_of(job) for job in jobs[:3])
            raise InputError(
                f"--only {self.only}: expected a job of {stage} that is owed, such as {names}"
            )
        return chosen

    def _alone(self, stage: Stage, job: str) -> str:
        """The command that does one job in its own process, where a debugger can be."""
        return self.command(stage, "--inline", "--only", job)

    def command(self, stage: Stage, *options: str) -> str:
        """The command that runs a stage of this study, as the user would type it."""
        arguments = self.arguments or (str(self.study.file),)
        return shlex.join(["cbt-ray", stage.command, *arguments, *options])

    def check_store(self) -> None:
        """Raise InputError where the store cannot be written."""
        with at(self.study):
            self.store.check()

    def prove(self, asked: Mapping[Stage, Mapping[str, Sequence[Role]]]) -> None:
        """Prove that every endpoint can answer before it is paid for: what costs nothing, then a
        short call each way it is asked.

        A way that has answered in this run is not asked again. Raises InputError with all that
        refuse.
        """
        check_endpoints(
            self.study,
            [role for roles in asked.values() for same in roles.values() for role in same],
        )
        fault: Infrastructure | None = None
        refused: list[str] = []
        for stage, roles in asked.items():
            for name, role in ((one, role) for one in sorted(roles) for role in roles[one]):
                way = role.endpoint, role.sampling
                if way in self._proven or not isinstance(
                    self.study.endpoints[role.endpoint], LiteLLMEndpoint
                ):
                    continue
                self._proven.add(way)
                try:
                    self._probe(stage, name, role)
                except BudgetReached:
                    raise
                except InputError as error:
                    refused += error.problems
                except Infrastructure as error:
                    fault = fault or error
        if refused:
            raise InputError(*refused)
        if fault is not None:
            raise fault

    def _probe(self, stage: Stage, name: str, role: Role) -> None:
        kind = "raters" if name in self.study.raters else "roles"
        field = f"{self.study.file}: {kind}.{name}.endpoint"
        models = Models(self.study.endpoints, self.engine.gate, self.study.told_date)
        caller = models.open(role.endpoint, name)
        try:
            probe(caller, name, role.sampling)
        except ModelFailure as failure:
            if failure.reason == "context_full":  # of a few words
                raise InputError(f"{field}: expected room for a short call: {failure}") from None
            # It answered: a model that reasons has no more to say in a few tokens.
        except CbtRayError as error:
            error.args = (f"{field}: expected an answer to a short call: {error}",)
            raise
        finally:
            record_calls(
                self.store, Key(self.study.study, stage, "probe", ""), caller.take_usage(), "probe"
            )

    def require(self, stage: Stage, share: float, what: str) -> None:
        """Raise BelowMinimum where fewer than `share` of a finished stage's units are done."""
        counts = self.survey(stage).counts(stage)
        total = sum(counts.values())
        if counts[State.DONE] < share * total:
            found = f"{counts[State.DONE]} of {total} {what} ({counts[State.DONE] / total:.0%})"
            raise BelowMinimum(
                f"{self.study.file}: minimum.{stage}: expected at least {share:.0%}, found {found}"
            )

    def once(self, survey: Survey, key: Key, make: Callable[[], Unit]) -> None:
        """Carry out a stage of a single unit in this process, if the survey says that it is
        owed.
        """
        if key not in survey.owed(key.stage):
            return
        self._complete = None
        self.check_store()
        begun = time.monotonic()
        with self.progress.stage(key.stage, 1) as watch:
            unit = self.origins.put(make())
            watch(str(key), unit.status)
        record_run(self.store, self.study.study, key.stage, time.monotonic() - begun)


def must_be_done(
    bench: Bench,
    survey: Survey,
    stage: Stage,
    needed_by: Stage,
    needed: Container[Key] | None = None,
) -> None:
    """Raise Owed where a stage that this one builds on still owes units; `needed`: one of these."""
    owed = [key for key in survey.owed(stage) if needed is None or key in needed]
    if owed:
        raise Owed(
            f"{needed_by}: {stage} still owes {many(len(owed), 'unit')}, first {owed[0].id}; run "
            f"first: {bench.command(stage)}"
        )
