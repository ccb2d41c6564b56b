"""`--help` and errors within 0.5 s of a laptop of today, `plan` and `status` within 1 s, counted in
calls. `plan` takes half a second more where it loads an embedded model's tokenizer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.calls import A_SECOND, ROOT, calls_of_command
from tests.study.example import example_study, write_study

pytestmark = pytest.mark.slow

SLOW_TO_IMPORT = (
    "torch",
    "ray",
    "litellm",
    "llama_cpp",
    "transformers",
    "statsmodels",
    "pandas",
    "boto3",
    "scipy",
)


@pytest.mark.parametrize(
    ("arguments", "code", "limit"),
    [
        (["--help"], 0, 0.5),
        (["simulate", "--help"], 0, 0.5),
        (["study", "none.yaml"], 2, 0.5),
        (["study", "study.yaml", "--set", "sead=1"], 2, 0.5),
        (["plan", "study.yaml"], 0, 1.0),
        (["status", "study.yaml"], 0, 1.0),
        (["plan", str(ROOT / "studies" / "demo.yaml")], 0, 1.5),
        (["status", str(ROOT / "studies" / "demo.yaml")], 0, 1.0),
    ],
    ids=lambda value: (
        "-".join(Path(part).name for part in value) if isinstance(value, list) else ""
    ),
)
def test_comes_at_once(arguments: list[str], code: int, limit: float, tmp_path: Path) -> None:
    write_study(tmp_path, example_study())
    assert calls_of_command(arguments, tmp_path, code) < limit * A_SECOND


def test_status_of_a_study_as_large_as_the_published_one(tmp_path: Path) -> None:
    patients = [
        {"name": f"Patient {number}", "profile": "a profile of no fewer than forty characters"}
        for number in range(5)
    ]
    arms = [{"name": f"arm-{number}", "model": "smollm2"} for number in range(6)]
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
        assert calls_of_command([command, "study.yaml"], tmp_path) < A_SECOND


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["plan", "study.yaml"], ["status", "study.yaml"], ["study", "none.yaml"]],
)
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
