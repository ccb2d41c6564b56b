"""A GPU that was asked for and that torch does not see: the job ends with 2 and both versions."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cbt_ray import gpu
from cbt_ray.batch.attempt import SUBMISSION, Attempts
from cbt_ray.errors import InputError
from cbt_ray.store import open_store
from tests.study.example import example_study, write_study

ROOT = Path(__file__).parents[1]
PROC = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)
"""
ASKED_UNSEEN = {gpu.ASKED: "1", "CUDA_VISIBLE_DEVICES": ""}
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"


def complaint(
    monkeypatch: pytest.MonkeyPatch, build: str | None, highest: tuple[int, int] | None
) -> str:
    monkeypatch.setenv(gpu.ASKED, "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(gpu, "driver_version", lambda: "535.183.01" if highest else None)
    monkeypatch.setattr(gpu, "driver_cuda", lambda: highest)
    with pytest.raises(InputError) as raised:
        gpu.require_gpu()
    return str(raised.value)


@pytest.mark.parametrize(
    ("build", "highest", "said"),
    [
        (
            "13.0",
            (12, 2),
            "built for CUDA 13.0, the node's driver is 535.183.01 for CUDA up to 12.2; use a newer "
            "driver, or to train an image of CUDA=cu126",
        ),
        (
            "13.0",
            None,
            "the node's driver is not to be seen; the container cannot load it: is a ru",
        ),
        (
            None,
            (13, 1),
            "built for a CPU, the node's driver is 535.183.01 for CUDA up to 13.1; use",
        ),
        ("12.6", (12, 10), "the versions fit: see whether the node's GPU answers nvidia-smi"),
    ],
)
def test_both_versions_and_the_remedy_are_said(
    monkeypatch: pytest.MonkeyPatch, build: str | None, highest: tuple[int, int] | None, said: str
) -> None:
    found = complaint(monkeypatch, build, highest)
    assert found.startswith(f"GPU: expected one that torch sees, as {gpu.ASKED}=1 says; torch ")
    assert torch.__version__ in found
    assert said in found


@pytest.mark.parametrize("asked", [None, "", "0"])
def test_on_a_laptop_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, asked: str | None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv(gpu.ASKED, raising=False)
    if asked is not None:
        monkeypatch.setenv(gpu.ASKED, asked)
    gpu.require_gpu()


def test_a_gpu_that_is_seen_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpu.ASKED, "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    gpu.require_gpu()


@pytest.mark.parametrize(
    ("visible", "highest", "sees", "said"),
    [
        ("0", (12, 2), False, True),
        ("0", None, False, False),
        ("0", (12, 2), True, False),
        ("", (12, 2), False, False),
        ("-1", (12, 2), False, False),
    ],
    ids=["not seen", "no driver", "seen", "hidden", "hidden by number"],
)
def test_a_machine_whose_gpu_is_not_seen_hears_of_it(
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    highest: tuple[int, int] | None,
    sees: bool,
    said: bool,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: sees)
    monkeypatch.setattr(gpu, "driver_cuda", lambda: highest)
    found = gpu.unseen_gpu()
    assert (found is not None) == said
    assert not said or ("for CUDA up to 12.2" in str(found) and torch.__version__ in str(found))


@pytest.mark.parametrize(
    ("text", "version"), [(PROC, "535.183.01"), (OPEN, "580.65.06"), ("", None)]
)
def test_the_drivers_version_is_read_from_the_kernel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, version: str | None
) -> None:
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(gpu, "_DRIVER", tmp_path / "version")
    assert gpu.driver_version() == version
    monkeypatch.setattr(gpu, "_DRIVER", tmp_path / "none")
    assert gpu.driver_version() is None


def test_the_library_of_a_driver_says_which_cuda_it_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By a library that answers as NVIDIA's does: 12020 is 12.2."""
    source = tmp_path / "cuda.c"
    source.write_text("int cuDriverGetVersion(int *v) { *v = 12020; return 0; }\n")
    library = tmp_path / "libcuda.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    load = ctypes.CDLL
    monkeypatch.setattr(ctypes, "CDLL", lambda name: load(str(tmp_path / name)))
    assert gpu.driver_cuda() == (12, 2)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: load(str(tmp_path / "none" / name)))
    assert gpu.driver_cuda() is None


@pytest.mark.slow
def test_the_train_job_ends_with_two_before_anything_is_read_or_made(tmp_path: Path) -> None:
    write_study(tmp_path, example_study(engine__workers=1))
    done = subprocess.run(
        [sys.executable, ROOT / "jobs" / "train.py", "study.yaml", "--model", "smollm2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), SUBMISSION: "one", **ASKED_UNSEEN},
    )
    assert done.returncode == InputError.exit_code, done.stderr
    assert f"cbt-ray: GPU: expected one that torch sees, as {gpu.ASKED}=1 says" in done.stderr
    verdict = Attempts(open_store(str(tmp_path / "runs")), "small", "one").verdict()
    assert verdict is not None
    assert verdict.message == done.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_server_ends_with_two_before_a_model_is_fetched(tmp_path: Path) -> None:
    served = {
        "endpoints__served": {"kind": "vllm", "weights": "finetuned", "dtype": "bfloat16"},
        "roles__therapist__endpoint": "served",
    }
    file = write_study(tmp_path, example_study(**{"arms__0__tuned": True, **served}))
    done = subprocess.run(
        [sys.executable, "-m", "cbt_ray", "serve", file, "--model", "smollm2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **ASKED_UNSEEN},
    )
    assert done.returncode == InputError.exit_code, done.stderr
    assert f"study.yaml: GPU: expected one that torch sees, as {gpu.ASKED}=1 says" in done.stderr
    assert not (tmp_path / "runs").exists()
