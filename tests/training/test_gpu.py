"""The measurements for a GPU run on a CPU too, in a tiny shape: what needs none of them does not
wait for one to be tried.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.needs import needs
from tests.training.gpu import STEPS, conclusions


@pytest.mark.train
@pytest.mark.llama
def test_all_but_unsloth_is_measured_without_a_gpu() -> None:
    command = [sys.executable, "-m", "tests.training.gpu", "--small"]
    made = subprocess.run(
        [*command, "--part", "trl", "--part", "stock-trl", "--part", "job"],
        capture_output=True,
        text=True,
        check=True,
    )
    head, *parts, said = [
        json.loads(line) for line in made.stdout.splitlines() if line.startswith("{")
    ]
    assert head["parameters"] > 6e6
    found = {one["part"]: one for one in parts}
    assert len(found["trl"]["losses"]) == STEPS
    assert 1 < found["stock-trl"]["rows"] < STEPS
    assert said["trl_over_stock"] > 0
    checks = found["job"]["checks"]
    assert all(
        passed is not False for name, passed in checks.items() if name not in ("stops", "greedy")
    )
    assert found["job"]["gguf_bytes"] > 3e6


@pytest.mark.train
def test_the_losses_of_both_backends_are_the_same_to_rounding() -> None:
    """On a GPU, with the real package, each in a process of its own: Unsloth rewrites the classes
    that the other would use.
    """
    import torch

    needs("cuda", torch.cuda.is_available())
    needs("unsloth", find_spec("unsloth") is not None)
    command = [
        sys.executable,
        "-m",
        "tests.training.gpu",
        "--small",
        "--part",
        "trl",
        "--part",
        "unsloth",
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    _, ours, theirs, _ = [
        json.loads(line) for line in made.stdout.splitlines() if line.startswith("{")
    ]
    assert len(ours["losses"]) == STEPS
    assert theirs["losses"] == pytest.approx(ours["losses"], rel=0.02)


def test_conclusions() -> None:
    found = {
        "trl": {"supervised_per_second": 19.0, "losses": [2.0, 1.0]},
        "stock-trl": {"supervised_per_second": 20.0},
    }
    found["unsloth"] = {"supervised_per_second": 30.0, "losses": [2.0, 1.125]}
    assert conclusions(found) == {"trl_over_stock": 0.95, "losses_apart": 0.125}
