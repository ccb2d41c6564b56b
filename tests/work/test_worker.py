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
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cbt_ray.errors import BudgetReached, InputError, WorkerDied
from cbt_ray.llm.meter import LocalMeter, Meter, Permit
from cbt_ray.llm.request import Usage
from cbt_ray.study import Study, load_study
from cbt_ray.study.study import Budget
from cbt_ray.work import worker
from cbt_ray.work.engine import ProcessEngine
from cbt_ray.work.job import Cause, Job, Loss, Outcome
from cbt_ray.work.loss import CRASHES, LOST_WORKERS, Losses
from cbt_ray.work.worker import Worker, kernel_kills, loss_of
from cbt_ray.work.workplace import Spec, silent
from tests.stages import scripted

pytestmark = pytest.mark.slow


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study(
        scripted.write_study(
            tmp_path, scripted.study_document(tmp_path / "store", engine={"workers": 1})
        )
    )


@pytest.fixture
def spec(study: Study) -> Spec:
    return Spec(
        study, study.store, LocalMeter(Meter(study.endpoints, Budget(calls=1))), silent, (), "run"
    )


@pytest.fixture
def one() -> Iterator[Worker]:
    it = Worker()
    yield it
    it.close()


def die(_spec: Spec, job: Job) -> None:
    """Die as the job says."""
    ways = {
        "in a library": lambda: ctypes.CDLL("libm.so.6").frexp(ctypes.c_double(1.0), None),
        "abort": lambda: (os.write(2, b"x.c:3: GGML_ASSERT(a == b) failed\n"), os.abort()),
        "segv": lambda: (os.kill(os.getpid(), signal.SIGSEGV), time.sleep(60)),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "exit": lambda: os._exit(3),
        "not at all": lambda: None,
    }
    ways[job[0]]()


def once(spec: Spec, job: Job) -> None:
    """Settle the units of a job; at each but the last the worker crashes behind it."""
    folder = Path(spec.store)
    folder.mkdir(exist_ok=True)
    for unit in range(job[0]):
        file = folder / str(unit)
        if not file.exists():
            file.touch()
            spec.note(f"rehearsal/sessions/{unit}", "done")
            if unit < job[0] - 1:
                os.abort()


def pay(spec: Spec, _job: Job) -> None:
    """One call: leave for it comes from the meter of the parent."""
    permit = spec.meter.acquire("script", 1)
    assert isinstance(permit, Permit)
    spec.meter.release(permit, Usage(calls=1, reply_tokens=7))


def die_in_a_call(spec: Spec, _job: Job) -> None:
    """Crash while a call is under way."""
    spec.meter.acquire("script", 1)
    os.abort()


def fail(_spec: Spec, _job: Job) -> None:
    """A fault of ours."""
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("way", "cause", "words"),
    [
        ("in a library", Cause.CRASH, ("SIGSEGV in libm.so.6", "test_worker.py")),
        ("abort", Cause.CRASH, ("SIGABRT", "GGML_ASSERT(a == b) failed", "test_worker.py")),
        ("segv", Cause.CRASH, ("SIGSEGV in ", "test_worker.py, <lambda>")),
        ("kill", Cause.OUTSIDE, ("SIGKILL",)),
        ("exit", Cause.CRASH, ("ended by itself with 3",)),
    ],
)
def test_a_worker_that_dies_says_why_and_is_replaced(
    spec: Spec, one: Worker, way: str, cause: Cause, words: tuple[str, ...]
) -> None:
    lost = one.do(die, spec, (way,)).lost
    assert lost is not None
    assert lost.cause is cause
    assert all(word in lost.words for word in words), lost.words
    assert one.do(die, spec, ("not at all",)) == Outcome()


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
    spec: Spec, one: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([4, 5])
    monkeypatch.setattr(worker, "kernel_kills", lambda: next(counts))
    lost = one.do(die, spec, ("kill",)).lost
    assert lost is not None
    assert lost.cause is Cause.MEMORY
    assert kernel_kills() >= 0


def test_the_meter_of_the_parent_counts_and_refuses(spec: Spec, one: Worker) -> None:
    assert one.do(pay, spec, ()) == Outcome()
    assert spec.meter.totals() == Usage(calls=1, reply_tokens=7)
    stop = one.do(pay, spec, ()).stop
    assert isinstance(stop, BudgetReached)


def test_a_call_of_a_lost_worker_counts_and_gives_its_slot_back(spec: Spec, one: Worker) -> None:
    script = spec.study.endpoints["script"].model_copy(update={"max_concurrency": 1})
    meter = LocalMeter(Meter({"script": script}, Budget()))
    assert one.do(die_in_a_call, replace(spec, meter=meter), ()).lost
    assert isinstance(meter.acquire("script", 1), Permit)
    assert meter.totals().calls == 2


def test_a_fault_of_ours_is_raised_with_where_it_was(spec: Spec, one: Worker) -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        one.do(fail, spec, ())


def engine(study: Study, said: list[str]) -> ProcessEngine:
    return ProcessEngine(study, study.store, Usage(), said.append)


def test_a_job_that_crashes_each_time_ends_the_stage_after_two(study: Study) -> None:
    said: list[str] = []
    its = engine(study, said)
    outcomes = list(its.run(die, [("not at all",), ("abort",), ("not at all",)], (), 1.0, silent))
    its.close()
    assert [type(outcome.stop) for outcome in outcomes] == [type(None), WorkerDied]
    assert issubclass(WorkerDied, InputError)
    assert "job abort: its worker died twice" in str(outcomes[1].stop)
    assert len(said) == 1, "the first loss is told, the second ends it"


def test_a_job_that_gets_on_between_crashes_is_begun_again(study: Study) -> None:
    said: list[str] = []
    units: list[str] = []
    its = engine(study, said)
    outcomes = list(its.run(once, [(4,)], (), 1.0, lambda key, _outcome: units.append(key)))
    its.close()
    assert outcomes == [Outcome()]
    assert len(units) == 4
    assert len(said) == 3 > CRASHES


def test_a_job_whose_workers_are_killed_stays_owed_and_the_others_go_on(study: Study) -> None:
    said: list[str] = []
    its = engine(study, said)
    outcomes = list(its.run(die, [("kill",), ("not at all",)], (), 1.0, silent))
    its.close()
    assert outcomes[0].stop is None
    assert "SIGKILL" in outcomes[0].owed[0]
    assert outcomes[1] == Outcome()
    assert len(said) == LOST_WORKERS - 1


def test_too_little_memory_twice_is_for_the_user_and_names_the_remedy() -> None:
    losses = Losses(lambda _line: None)
    lost = Outcome(lost=Loss(Cause.MEMORY, "out of memory"))
    assert losses.settle("job", lost) is None
    ended = losses.settle("job", lost)
    assert ended is not None
    assert "engine.workers" in str(ended.stop)


def test_a_lost_node_is_never_for_the_user() -> None:
    losses = Losses(lambda _line: None)
    ended = [
        losses.settle("job", Outcome(lost=Loss(Cause.OUTSIDE, "its node is gone")))
        for _ in range(LOST_WORKERS)
    ]
    assert ended[:-1] == [None] * (LOST_WORKERS - 1)
    assert ended[-1] is not None
    assert ended[-1].stop is None
    assert ended[-1].owed


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    script = f"""
        from pathlib import Path
        from tests.stages import scripted
        from tests.work.test_worker import LocalMeter, Meter, Budget, Spec, Worker, die
        from tests.work.test_worker import load_study, silent
        folder = Path({str(tmp_path)!r})
        study = load_study(scripted.write_study(folder, scripted.study_document("store")))
        one = Worker()
        meter = LocalMeter(Meter(study.endpoints, Budget()))
        one.do(die, Spec(study, "store", meter, silent, (), "run"), ("not at all",))
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
