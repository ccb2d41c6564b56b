"""What is said before the first step, against arithmetic by hand and against the peak of a real
training.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend import forecast as module
from cbt_ray.training.backend.arguments import sft_arguments, warmup_steps
from cbt_ray.training.backend.forecast import forecast, read_shape, tell
from cbt_ray.training.backend.job import Job
from cbt_ray.training.mask import IGNORED, Window
from cbt_ray.training.start.base import Base
from tests.training.backend.runs import Train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LLAMA = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
"""Llama 3.1 8B: 8.03 billion parameters."""


def _window(length: int, supervised: int) -> Window:
    return Window("p", 1, [5] * length, [IGNORED] * (length - supervised) + [7] * supervised)


@pytest.fixture
def llama(tiny: Base, recipe: Recipe, tmp_path: Path) -> Job:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    lora = Recipe.model_fields["lora"].default
    own = recipe.model_copy(
        update={"lora": lora, "batch": 2, "accumulation": 4, "max_length": 8192, "max_steps": None}
    )
    return Job(
        own,
        replace(tiny, folder=tmp_path),
        [_window(8192, 2000), _window(4096, 1000)],
        {},
        tmp_path,
        1,
    )


def test_the_sums_for_eight_billion_parameters(llama: Job) -> None:
    """By hand from the published shape: 3.6 GB of NF4, 2.1 of embeddings in bf16, 42 million
    parameters of the adapter.
    """
    shape = read_shape(llama.base.folder / "config.json")
    assert shape.linear * shape.layers + shape.embeddings == pytest.approx(8.03e9, rel=0.001)
    found = forecast(llama, cuda=True)
    assert found.bytes["weights"] == pytest.approx(6.979e9 * 0.52 + 1.0507e9 * 2, rel=0.001)
    assert found.bytes["adapter"] == pytest.approx(41.94e6 * 10, rel=0.001)
    layer = 16384 * 2 * (7 * 4096 + 4 * 4096 + 4 * 14336)
    assert found.bytes["activations"] == pytest.approx(2 * layer + 32 * 16384 * 2 * 4096, rel=0.001)
    assert found.bytes["logits"] == 5 * 256 * 128256 * 4
    assert (found.steps, found.longest, found.share) == (1, 8192, 3000 / 12288)
    assert found.tokens == 2 * 4 * 12288 / 2


def test_settings_move_it_as_they_should(llama: Job) -> None:
    def gib(**more: Any) -> float:
        return forecast(
            replace(llama, recipe=llama.recipe.model_copy(update=more)), cuda=True
        ).memory_gib

    assert gib(load_4bit=False) > gib() + 5
    assert gib(batch=1) < gib() < gib(lora=llama.recipe.lora.model_copy(update={"dropout": 0.1}))
    assert gib(optimizer="adamw_torch") > gib()


def test_a_gpu_that_is_too_small_is_warned_of(llama: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    job = replace(
        llama, say=lines.append, recipe=llama.recipe.model_copy(update={"warmup_steps": 0.0})
    )
    for size in (80.0, 16.0):
        monkeypatch.setattr(module, "device_gib", lambda size=size: size)
        tell(job)
    assert (
        lines[0]
        == "1 step of 49,152 tokens on average, 24.4% of them supervised; the longest window has "
        "8192"
    )
    assert lines[:2] == lines[2:4]
    assert lines[1].startswith("memory: about ")
    assert (
        lines[4] == "warning: the GPU has 16.0 GiB: lower batch or max_length, or take a larger one"
    )
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("given", "steps", "rising"),
    [(0.06, 65, 4), (0.06, 6, 1), (0.06, 1, 0), (0.5, 6, 3), (0, 6, 0), (5, 6, 5), (1.0, 6, 1)],
)
def test_a_warm_up_is_steps_or_a_share_of_them(
    llama: Job, given: float, steps: int, rising: int
) -> None:
    job = replace(
        llama, recipe=llama.recipe.model_copy(update={"warmup_steps": given, "max_steps": steps})
    )
    assert warmup_steps(job) == sft_arguments(job).warmup_steps == rising
    assert not any("warm-up" in line for line in forecast(job, cuda=True).lines(None))


def test_a_warm_up_without_an_end_is_warned_of(llama: Job) -> None:
    """As the published 100 steps would be over the sessions of a study."""
    job = replace(
        llama, recipe=llama.recipe.model_copy(update={"warmup_steps": 100.0, "max_steps": 65})
    )
    said = (
        "warning: warm-up takes all 65 steps, the learning rate is not reached: lower warmup_steps"
    )
    assert forecast(job, cuda=True).lines(None)[-1] == said


@pytest.mark.parametrize(
    "harm",
    ["{", "[]", json.dumps({**LLAMA, "num_attention_heads": None}), json.dumps({"hidden_size": 1})],
)
def test_a_config_without_a_shape_is_named(tmp_path: Path, harm: str) -> None:
    (tmp_path / "config.json").write_text(harm)
    with pytest.raises(
        InputError, match=r"config\.json: expected (JSON|the shape of a transformer)"
    ):
        read_shape(tmp_path / "config.json")


@pytest.mark.train
def test_it_is_said_before_the_first_step_and_the_time_behind_the_second(train: Train) -> None:
    said: list[str] = []
    train("said", report=lambda step: said.append(f"step {step.step}"), job={"say": said.append})
    assert said[0].startswith("6 steps of ")
    assert said[1].startswith("memory: about ")
    assert said[2] == "step 1"
    assert "tokens a second: about" in said[3]
    assert said[4:] == [f"step {number}" for number in range(2, 7)]


@pytest.mark.train
@pytest.mark.parametrize(
    ("max_length", "load_4bit", "factor"), [(4096, True, 1.25), (2048, False, 1.6)]
)
def test_the_peak_is_near_the_forecast(
    base: Base, recipe: Recipe, tmp_path: Path, max_length: int, load_4bit: bool, factor: float
) -> None:
    """The embedded model in a process of its own: in 4 bit with gradient checkpointing (from 2048
    tokens on), and in full without.
    """
    asked = {"batch": 2, "accumulation": 1, "max_steps": 1}
    own = recipe.model_copy(update={**asked, "max_length": max_length, "load_4bit": load_4bit})
    command = [
        sys.executable,
        "-m",
        "tests.training.backend.peak",
        str(base.folder),
        str(tmp_path),
        own.model_dump_json(),
    ]
    made = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found = json.loads(made.stdout.splitlines()[-1])
    assert found["forecast"] / factor < found["peak"] < found["forecast"] * factor
