"""What the training libraries are told through the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cbt_ray.training import environment
from cbt_ray.training.environment import ALLOCATION, settle


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a new process on Linux; what a test sets is taken away again."""
    for name in (*ALLOCATION, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(environment, "WSL", str(tmp_path / "dxg"))


@pytest.mark.parametrize(
    ("visible", "taken"),
    [(None, "0"), ("0,1,2,3", "0"), ("2,3", "2"), ("GPU-8f2b,GPU-1c0d", "GPU-8f2b"), ("", "")],
)
def test_one_gpu_is_visible_whatever_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, taken: str
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    settle()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == taken


def test_segments_of_a_gpus_memory_grow() -> None:
    settle()
    assert os.environ[ALLOCATION[0]] == "expandable_segments:True"


@pytest.mark.parametrize("name", ALLOCATION)
def test_what_the_user_says_of_them_is_left(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "max_split_size_mb:128")
    settle()
    assert [os.environ.get(one) for one in ALLOCATION if one != name] == [None]


def test_windows_linux_cannot_have_them(tmp_path: Path) -> None:
    (tmp_path / "dxg").touch()
    settle()
    assert ALLOCATION[0] not in os.environ
