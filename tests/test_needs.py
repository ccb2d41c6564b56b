"""The end of a run of the tests, and what make says of what it lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "REQUIRE": ""}
TESTS = """
import pytest
from tests.needs import needs

@pytest.mark.parametrize("number", range(3))
def test_in_a_browser(number):
    needs("browser", False)

def test_on_a_gpu():
    needs("cuda", False)

def test_here():
    needs("air", True)
"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one", "several"])
def test_what_the_machine_lacks_is_said_once_at_the_end(tmp_path: Path, workers: list[str]) -> None:
    (tmp_path / "conftest.py").write_text("from tests.needs import pytest_terminal_summary\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), *workers, "."]
    said = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout
    (line,) = [line for line in said.stdout.splitlines() if "browser" in line]
    assert line == (
        "skipped: needs browser (3 tests), needs cuda (1 test); with REQUIRE=browser,cuda they fail"
    )
    assert said.stdout.splitlines()[-2] == line


@pytest.mark.parametrize("target", ["logs", "cancel"])
def test_make_says_that_the_stage_is_missing(target: str) -> None:
    said = subprocess.run(["make", target], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 2
    assert f"make {target}: STAGE is missing, one of generate, " in said.stderr
    assert f"for example: make {target} STAGE=train" in said.stderr
