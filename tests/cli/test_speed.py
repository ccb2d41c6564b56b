"""`--help` and errors within 0.5 s, `plan` and `status` within 1 s.

What is measured is the processor's time, which a busy machine stretches far less than the clock's, and on a machine slower than
a laptop of today (a shared virtual core, say) it is compared with the time that Python takes there for known work.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.study.example import example_study, write_study

ROOT = Path(__file__).parents[2]
SLOW_TO_IMPORT = ("torch", "ray", "litellm", "llama_cpp", "transformers", "statsmodels", "pandas", "boto3", "scipy")
TRIES = 3
YARDSTICK = (
    "import asyncio, email.message, http.client, unittest.mock, xml.dom.minidom, decimal; sum(i * i for i in range(1_000_000))"
)
YARDSTICK_S = 0.20
"""What the yardstick takes on an idle core of a laptop of today."""


def processor_seconds(arguments: list[str], folder: Path, code: int) -> float:
    """User and system time of one run of the command line."""
    return _seconds(["-m", "cbt_ray", *arguments], folder, code)


def _seconds(arguments: list[str], folder: Path, code: int) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**environment, "PYTHONPATH": str(ROOT)},
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == code
    return used.ru_utime + used.ru_stime


def comes_within(limit: float, arguments: list[str], folder: Path, code: int) -> bool:
    """Whether the command takes at most `limit` seconds of a laptop of today; each try beside its own yardstick."""
    for _ in range(TRIES):
        slower = max(1.0, _seconds(["-c", YARDSTICK], folder, 0) / YARDSTICK_S)
        if processor_seconds(arguments, folder, code) <= limit * slower:
            return True
    return False


@pytest.mark.parametrize(
    ("arguments", "code", "limit"),
    [
        (["--help"], 0, 0.5),
        (["simulate", "--help"], 0, 0.5),
        (["study", "none.yaml"], 2, 0.5),
        (["study", "study.yaml", "--set", "sead=1"], 2, 0.5),
        (["plan", "study.yaml"], 0, 1.0),
        (["status", "study.yaml"], 0, 1.0),
        (["plan", str(ROOT / "studies" / "demo.yaml")], 0, 1.0),
        (["status", str(ROOT / "studies" / "demo.yaml")], 0, 1.0),
    ],
    ids=lambda value: "-".join(Path(part).name for part in value) if isinstance(value, list) else "",
)
def test_comes_at_once(arguments: list[str], code: int, limit: float, tmp_path: Path) -> None:
    write_study(tmp_path, example_study())
    assert comes_within(limit, arguments, tmp_path, code)


def test_status_of_a_study_as_large_as_the_published_one(tmp_path: Path) -> None:
    patients = [{"name": f"Patient {number}", "profile": "a profile of no fewer than forty characters"} for number in range(5)]
    arms = [{"name": f"arm-{number}", "model": "smollm2", "variant": "instruct"} for number in range(6)]
    phases = [{"name": "all", "sessions": [1, 20], "goals": "goals", "techniques": "techniques"}]
    write_study(
        tmp_path,
        example_study(
            patients__training__count=58,
            patients__training__names=[],
            patients__simulated=patients,
            arms=arms,
            phases=phases,
            courses__sessions=20,
            sessions__count=20,
        ),
    )
    for command in ("plan", "status"):
        assert comes_within(1.0, [command, "study.yaml"], tmp_path, 0)


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "study.yaml"], ["status", "study.yaml"], ["study", "none.yaml"]])
def test_nothing_slow_is_imported(arguments: list[str], tmp_path: Path) -> None:
    write_study(tmp_path, example_study())
    found = f"[name for name in {SLOW_TO_IMPORT!r} if name in sys.modules]"
    code = f"import sys; from cbt_ray.__main__ import run; run({arguments!r}); print({found})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.splitlines()[-1] == "[]"
