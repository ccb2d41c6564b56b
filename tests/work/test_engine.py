"""The engine: how many workers a stage's endpoints take, and how many jobs each does at once."""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.work.engine import LocalCrew, Needs, needs_of
from tests.study.example import loaded


@pytest.mark.parametrize(
    ("therapist", "needs", "workers"),
    [
        ({}, Needs(2, only_waits=False, bears=1), 4),
        ({"parallel": 8}, Needs(2, only_waits=False, bears=8), 4),
        ({"parallel": 8, "gpu_layers": 99}, Needs(2, only_waits=True, bears=8), 1),
        ({"gpu_layers": 1}, Needs(2, only_waits=True, bears=1), 1),
    ],
)
def test_models_on_cpus_take_a_worker_each_and_those_on_a_gpu_share_one(
    monkeypatch: pytest.MonkeyPatch, therapist: dict[str, Any], needs: Needs, workers: int
) -> None:
    monkeypatch.setattr("cbt_ray.work.engine.available_cpus", lambda: 8)
    own = {"kind": "llama_cpp", "gguf": "some.gguf", "threads": 2, **therapist}
    study = loaded(endpoints__own=own, roles__therapist__endpoint="own")
    assert needs_of(study, [study.roles.therapist]) == needs
    assert LocalCrew().width(needs) == workers
