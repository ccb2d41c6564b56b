"""Workers: a process that dies says why, a job that kills each of its workers ends the stage, and
no process is left.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cbt_ray.errors import BudgetReached, InputError, WorkerDied
from cbt_ray.llm.lease import Grant
from cbt_ray.llm.meter import Meter
from cbt_ray.llm.request import Message, Request, Usage
from cbt_ray.store import open_store
from cbt_ray.study import Study, load_study
from cbt_ray.study.endpoint import Sampling
from cbt_ray.study.study import Budget
from cbt_ray.unit import Key, Stage
from cbt_ray.work import worker
from cbt_ray.work.engine import CrewEngine, LocalCrew
from cbt_ray.work.job import Cause, Job, Loss, Orders, Outcome, Report, Work
from cbt_ray.work.loss import CRASHES, LOST_WORKERS, Losses
from cbt_ray.work.usage import Costs
from cbt_ray.work.worker import Worker, kernel_kills, loss_of
from cbt_ray.work.workplace import Spec, silent
from cbt_ray.work.workshop import Setting
from tests.stages import scripted

pytestmark = pytest.mark.slow


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study(
        scripted.write_study(
            tmp_path,
            scripted.study_document(tmp_path / "store", engine={"workers": 1}, budget={"calls": 1}),
        )
    )


@pytest.fixture
def setting(study: Study) -> Setting:
    return Setting(study, study.store, ())


@pytest.fixture
def one() -> Iterator[Worker]:
    it = Worker()
    yield it
    it.close()


class Session:
    """What an engine says to one worker until its jobs have ended."""

    def __init__(self, one: Worker, work: Work, setting: Setting, meter: Meter) -> None:
        self.one, self.meter = one, meter
        self.noted: list[tuple[int, str, str]] = []
        one.begin(work, setting)

    def do(self, *jobs: Job) -> list[Outcome] | Loss:
        """The outcomes of jobs that are done at once, by number."""
        given, ended = tuple(enumerate(jobs)), dict[int, Outcome]()
        while len(ended) < len(jobs):
            report = self.one.exchange(Orders(given, self.meter.grant("one")))
            if isinstance(report, Loss):
                self.meter.leave("one")
                return report
            self.meter.settle("one", report.claim)
            self.noted += report.noted
            given, ended = (), ended | dict(report.ended)
        return [ended[number] for number in range(len(jobs))]


@pytest.fixture
def does(one: Worker, setting: Setting) -> Callable[..., Session]:
    """A session with a worker, by what its jobs do."""

    def begun(work: Work, meter: Meter | None = None) -> Session:
        study = setting.study
        return Session(one, work, setting, meter or Meter(study.endpoints, study.budget))

    return begun


def crash() -> None:
    signal.raise_signal(signal.SIGSEGV)
    time.sleep(60)


def die(_spec: Spec, job: Job) -> None:
    """Die as the job says."""
    ways: dict[str, Callable[[], object]] = {
        "in a library": lambda: ctypes.CDLL("libm.so.6").frexp(ctypes.c_double(1.0), None),
        "abort": lambda: (os.write(2, b"x.c:3: GGML_ASSERT(a == b) failed\n"), os.abort()),
        "segv": crash,
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "exit": lambda: os._exit(3),
        "not at all": lambda: None,
    }
    ways[job[0]]()


def once(spec: Spec, job: Job) -> None:
    """Settle the units of a job; at each but the last the worker crashes after it."""
    folder = Path(spec.setting.store)
    folder.mkdir(exist_ok=True)
    for unit in range(job[0]):
        file = folder / str(unit)
        if not file.exists():
            file.touch()
            spec.note(f"rehearsal/sessions/{unit}", "done")
            if unit < job[0] - 1:
                os.abort()


def pay(spec: Spec, _job: Job) -> None:
    """One call: leave for it comes from the meter of the engine."""
    permit = spec.gate.acquire("script", 1)
    spec.gate.release(permit, Usage(calls=1, reply_tokens=7))


def talk(spec: Spec, _job: Job) -> None:
    """One call of a model."""
    with spec.workplace() as place:
        place.filled("patient").ask(Request((Message("user", "Hello."),), Sampling(), 0))


def die_in_a_call(spec: Spec, _job: Job) -> None:
    """Crash while a call is under way."""
    spec.gate.acquire("script", 1)
    os.abort()


def meet(spec: Spec, job: Job) -> None:
    """Wait until as many jobs are here as the job says."""
    folder = Path(spec.setting.store)
    folder.mkdir(exist_ok=True)
    (folder / str(job[0])).touch()
    while len(list(folder.iterdir())) < job[1]:
        time.sleep(0.01)


def hold_a_call(spec: Spec, job: Job) -> None:
    """Be in the middle of a unit, with a call under way, until the process ends."""
    shop = spec.workplace().shop
    shop.begin(Key("rehearsal", Stage.SESSIONS, str(job[0]), "0" * 16), lambda: Usage(calls=1))
    spec.note("held", "done")
    time.sleep(3600)


def fail(_spec: Spec, _job: Job) -> None:
    """A fault of ours."""
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("way", "cause", "words"),
    [
        ("in a library", Cause.CRASH, ("SIGSEGV in libm.so.6", "test_worker.py")),
        ("abort", Cause.CRASH, ("SIGABRT", "GGML_ASSERT(a == b) failed", "test_worker.py")),
        ("segv", Cause.CRASH, ("SIGSEGV in ", "test_worker.py, crash")),
        ("kill", Cause.OUTSIDE, ("SIGKILL",)),
        ("exit", Cause.CRASH, ("ended by itself with 3",)),
    ],
)
def test_a_worker_that_dies_says_why_and_is_replaced(
    does: Callable[..., Session], way: str, cause: Cause, words: tuple[str, ...]
) -> None:
    its = does(die)
    lost = its.do((way,))
    assert isinstance(lost, Loss)
    assert lost.cause is cause
    assert all(word in lost.words for word in words), lost.words
    assert its.do(("not at all",)) == [Outcome()]


@pytest.mark.parametrize(
    ("code", "memory", "cause"),
    [
        (-signal.SIGKILL, False, Cause.OUTSIDE),
        (-signal.SIGKILL, True, Cause.MEMORY),
        (-signal.SIGTERM, True, Cause.OUTSIDE),
        (128 + signal.SIGTERM, False, Cause.OUTSIDE),
        (-signal.SIGILL, False, Cause.CRASH),
        (-signal.SIGSYS, False, Cause.CRASH),
        (1, False, Cause.CRASH),
    ],
)
def test_who_is_to_blame(code: int, memory: bool, cause: Cause) -> None:
    assert loss_of(code, "", memory=memory).cause is cause


def test_a_death_while_the_kernel_was_short_of_memory_is_told_as_that(
    does: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([4, 5])
    monkeypatch.setattr(worker, "kernel_kills", lambda: next(counts))
    lost = does(die).do(("kill",))
    assert isinstance(lost, Loss)
    assert lost.cause is Cause.MEMORY
    assert kernel_kills() >= 0


def test_many_jobs_are_under_way_at_once(does: Callable[..., Session]) -> None:
    assert does(meet).do(*[(number, 64) for number in range(64)]) == [Outcome()] * 64


def test_the_meter_of_the_engine_counts_and_refuses(does: Callable[..., Session]) -> None:
    its = does(pay)
    assert its.do(()) == [Outcome()]
    assert its.meter.totals() == Usage(calls=1, reply_tokens=7)
    stopped = its.do(())
    assert isinstance(stopped, list)
    assert isinstance(stopped[0].stop, BudgetReached)


def test_models_of_a_second_stage_ask_its_own_gate(
    one: Worker, does: Callable[..., Session], setting: Setting
) -> None:
    first = does(talk, Meter(setting.study.endpoints, Budget(calls=2)))
    assert first.do(()) == [Outcome()]
    assert Session(one, talk, setting, first.meter).do(()) == [Outcome()]
    assert first.meter.totals().calls == 2


def test_a_call_of_a_lost_worker_counts_and_gives_its_slot_back(
    does: Callable[..., Session], study: Study
) -> None:
    script = study.endpoints["script"].model_copy(update={"max_concurrency": 1})
    meter = Meter({"script": script}, Budget(calls=1))
    assert isinstance(does(die_in_a_call, meter).do(()), Loss)
    assert meter.totals().calls == 1
    assert meter.grant("another").refused


def test_what_units_under_way_cost_is_written_down_by_a_worker_that_is_told_to_end(
    one: Worker, does: Callable[..., Session], study: Study
) -> None:
    does(hold_a_call)
    given, noted = tuple((number, (number,)) for number in range(5)), 0
    while noted < 5:
        report = one.exchange(Orders(given, Grant()))
        assert isinstance(report, Report)
        given, noted = (), noted + len(report.noted)
    one.close()
    assert Costs(open_store(study.store), "rehearsal").total.calls == 5


def test_a_fault_of_ours_is_raised_with_where_it_was(does: Callable[..., Session]) -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        does(fail).do(())


def run(
    study: Study, work: Work, jobs: list[Job], said: list[str], units: list[str] | None = None
) -> list[Outcome]:
    """What jobs leave, in the order in which they end."""
    its = CrewEngine(study, study.store, Usage(), said.append, LocalCrew())
    try:
        watch = silent if units is None else lambda key, _outcome: units.append(key)
        return list(its.run(work, jobs, {"patient": [study.role("patient")]}, watch))
    finally:
        its.close()


def test_a_job_that_crashes_each_time_ends_the_stage_after_two(study: Study) -> None:
    said: list[str] = []
    outcomes = run(study, die, [("abort",)], said)
    assert [type(outcome.stop) for outcome in outcomes] == [WorkerDied]
    assert issubclass(WorkerDied, InputError)
    assert "job abort: its worker died twice" in str(outcomes[0].stop)
    assert len(said) == 1, "the first loss is told, the second ends it"


def crash_among_others(spec: Spec, job: Job) -> None:
    """One job crashes each time, the first time when all are there."""
    struck = Path(spec.setting.store) / "struck"
    if not struck.exists():
        meet(spec, job)
        time.sleep(0 if job[0] == 3 else 3600)
        struck.touch()
    if job[0] == 3:
        os.abort()
    spec.note(f"rehearsal/sessions/{job[0]}", "done")


def test_the_job_that_crashes_is_found_among_those_that_were_lost_with_it(study: Study) -> None:
    said: list[str] = []
    outcomes = run(study, crash_among_others, [(number, 8) for number in range(8)], said)
    stops = [outcome.stop for outcome in outcomes if outcome.stop]
    assert len(stops) == 1
    assert "job 3.8: its worker died twice" in str(stops[0])
    assert "jobs 0.8 and 7 more" in said[0]
    assert said[0].endswith("they are begun again, one at a time")


def test_a_job_that_gets_on_between_crashes_is_begun_again(study: Study) -> None:
    said: list[str] = []
    units: list[str] = []
    assert run(study, once, [(4,)], said, units) == [Outcome()]
    assert len(units) == 4
    assert len(said) == 3 > CRASHES


def test_a_job_whose_workers_are_killed_stays_owed_and_the_others_go_on(study: Study) -> None:
    said: list[str] = []
    alone = study.model_copy(
        update={"engine": study.engine.model_copy(update={"chains_per_worker": 1})}
    )
    outcomes = run(alone, die, [("kill",), ("not at all",)], said)
    assert [outcome for outcome in outcomes if not outcome.owed] == [Outcome()]
    (owed,) = (outcome for outcome in outcomes if outcome.owed)
    assert "SIGKILL" in owed.owed[0]
    assert len(said) == LOST_WORKERS - 1


def test_too_little_memory_twice_is_for_the_user_and_names_the_remedy() -> None:
    losses = Losses(lambda _line: None)
    loss = Loss(Cause.MEMORY, "out of memory")
    assert losses.settle(["job"], loss) == [None]
    (ended,) = losses.settle(["job"], loss)
    assert ended is not None
    assert "engine.chains_per_worker" in str(ended.stop)


def test_a_lost_node_is_never_for_the_user() -> None:
    losses = Losses(lambda _line: None)
    loss = Loss(Cause.OUTSIDE, "its node is gone")
    ended = [losses.settle(["job"], loss)[0] for _ in range(LOST_WORKERS)]
    assert ended[:-1] == [None] * (LOST_WORKERS - 1)
    assert ended[-1] is not None
    assert ended[-1].stop is None
    assert ended[-1].owed
    assert not losses.suspects("job")


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    script = f"""
        from pathlib import Path
        from tests.stages import scripted
        from tests.work.test_worker import Meter, Session, Setting, Worker, die, load_study
        folder = Path({str(tmp_path)!r})
        study = load_study(scripted.write_study(folder, scripted.study_document("store")))
        one = Worker()
        setting = Setting(study, "store", ())
        Session(one, die, setting, Meter(study.endpoints, study.budget)).do(("not at all",))
        print(one._process.pid, flush=True)
        input()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    end = time.monotonic() + 1200
    while _runs(child):
        assert time.monotonic() < end, "the worker outlives its parent"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
