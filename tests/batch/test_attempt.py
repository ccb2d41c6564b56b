"""Attempts in the store, and the container's entry point that heeds them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cbt_ray.batch.attempt import Attempts
from cbt_ray.store import open_store
from tests.study.example import example_study, write_study

ROOT = Path(__file__).parents[2]


def run_job(
    job: str, folder: Path, submission: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "jobs" / f"{job}.py"), "study.yaml", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CBT_RAY_SUBMISSION": submission},
    )


def attempts(folder: Path, submission: str) -> Attempts:
    return Attempts(open_store(str(folder / "runs")), "small", submission)


def test_records_are_numbered_and_the_verdict_is_the_first_final_one(tmp_path: Path) -> None:
    known = Attempts(open_store(str(tmp_path)), "small", "abc")
    assert known.last() is None
    known.write(1, "store out of reach", 3.0)
    assert known.verdict() is None
    known.write(2, "seed: expected a number", 1.0)
    known.write(1, "late", 1.0)
    assert [one.attempt for one in known.all()] == [1, 2, 3]
    verdict = known.verdict()
    assert verdict is not None
    assert (verdict.attempt, verdict.code, verdict.message) == (2, 2, "seed: expected a number")
    assert Attempts(open_store(str(tmp_path)), "small", "other").all() == []


def test_two_attempts_that_overlap_write_two_records(tmp_path: Path) -> None:
    one, other = (Attempts(open_store(str(tmp_path)), "small", "abc") for _ in range(2))
    one.store.create(f"{one.folder}0001", b"{}")  # torn
    other.write(1, "", 1.0)
    one.write(0, "", 1.0)
    assert [found.attempt for found in one.all()] == [2, 3]


@pytest.mark.slow
def test_a_job_that_ends_well_says_so(tmp_path: Path) -> None:
    write_study(tmp_path, example_study())
    done = run_job("generate", tmp_path, "first", "--inline")
    assert done.returncode == 2, done.stderr  # `dataset` knows no --inline, and says so
    done = run_job("generate", tmp_path, "second", "--set", "engine.workers=1")
    assert done.returncode == 0, done.stderr
    last = attempts(tmp_path, "second").last()
    assert last is not None
    assert (last.code, last.message) == (0, "")


@pytest.mark.slow
def test_after_a_two_no_attempt_calls_a_model(tmp_path: Path) -> None:
    write_study(tmp_path, example_study(engine__workers=1, budget={"calls": 1}))
    first = run_job("generate", tmp_path, "spent")
    assert first.returncode == 2
    calls = len(list((tmp_path / "runs").glob("small/usage/*/*")))
    # The user raises the budget, but the running submission has ended: only a new one may go on.
    write_study(tmp_path, example_study(engine__workers=1))
    second = run_job("generate", tmp_path, "spent")
    assert second.returncode == 2
    assert second.stderr.splitlines()[-1] == first.stderr.splitlines()[-1]
    assert len(list((tmp_path / "runs").glob("small/usage/*/*"))) == calls
    assert len(attempts(tmp_path, "spent").all()) == 1
    third = run_job("generate", tmp_path, "a new submission")
    assert third.returncode == 0, third.stderr


@pytest.mark.slow
def test_outside_a_cluster_no_record_is_left(tmp_path: Path) -> None:
    write_study(tmp_path, example_study(engine__workers=1))
    done = run_job("simulate", tmp_path, "")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "runs" / "small" / "attempts").exists()
