"""What `cbt-ray submit --dry-run` prints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from cbt_ray.__main__ import outcome
from tests.needs import needs
from tests.study.example import example_study, write_study

JOBS = ("generate", "fetch", "train", "export", "simulate", "evaluate")
SERVED = {
    "endpoints__served": {"kind": "vllm", "weights": "finetuned", "dtype": "bfloat16"},
    "roles__therapist__endpoint": "served",
}
"""Changes of a study by which vLLM serves its tuned models."""


def dry_run(
    folder: Path, job: str, overlay: str, *options: str, expect: int = 0, **changes: Any
) -> str:
    """The text that one command prints."""
    needs("kubectl", shutil.which("kubectl") is not None)
    file = write_study(folder, example_study(**{"arms__0__tuned": True, **changes}))
    images = ["--cpu-image", "cbt-ray-cpu:1", "--train-image", "cbt-ray-train:1-cpu"]
    images += ["--vllm-image", "cbt-ray-vllm:1-cpu"]
    store = ["--set", "store=s3://some-bucket"]
    command = ["submit", job, str(file), "--overlay", overlay, "--dry-run"]
    with redirect_stdout(StringIO()) as printed:
        code, message = outcome([*command, *images, *store, *options])
    assert code == expect, message
    return printed.getvalue() + message


def everything(folder: Path, overlay: str) -> Iterator[dict[str, Any]]:
    """All objects of all jobs, with the servers of models and a cluster that scales itself."""
    for job in JOBS:
        model = ["--model", "smollm2"] if job in ("fetch", "train", "export") else []
        changes = SERVED if job == "simulate" else {}
        yield from yaml.safe_load_all(dry_run(folder, job, overlay, *model, **changes))
    yield from yaml.safe_load_all(dry_run(folder, "generate", overlay, "--autoscaled"))
