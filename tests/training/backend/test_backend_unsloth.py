"""The unsloth backend: the real Unsloth on a CPU, where `make unsloth-cpu` put it, beside the
backend of TRL. Its kernels for LoRA, RoPE and norms run, interpreted and in fp32. Those for 4 bit
do not, nor what it leaves to the memory of the CPU.
"""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.study.recipe import Recipe
from cbt_ray.training import environment
from cbt_ray.training.backend import open_backend, trl_backend, unsloth_backend
from cbt_ray.training.backend.job import Job, Trained
from cbt_ray.training.mask import IGNORED, Window
from cbt_ray.training.preference import Pair
from cbt_ray.training.start.base import Base
from tests.needs import needs
from tests.training.backend.runs import Batches, Nowhere, fed, lasting, weights
from tests.training.backend.unsloth_cpu import Found

pytestmark = pytest.mark.train
ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".unsloth" / "bin" / "python"
PADDED, ONE_ROW = {"batch": 2, "batching": "padded"}, {"batch": 2}
RECIPES: dict[str, dict[str, Any]] = {
    "single": {"batch": 1},
    "padded": PADDED,
    "one-row": ONE_ROW,
    "orpo-padded": {"method": "orpo", **PADDED},
    "orpo-one-row": {"method": "orpo", **ONE_ROW},
}
ONE_ROWED = {"one-row", "orpo-one-row"}
KERNELS = {"LoRA_QKV", "LoRA_W", "LoRA_MLP", "Fast_RMS_Layernorm", "Fast_RoPE_Embedding"}
STEPS = 3
KILLED = [2]
"""Behind which of them the training dies that is begun again."""


def _windows(count: int) -> list[Window]:
    """Of unequal lengths; short, since a token takes a tenth of a second."""
    draw = random.Random(count)
    return [_window([_ids(draw), _ids(draw)]) for _ in range(count)]


def _pairs(count: int) -> list[Pair]:
    draw = random.Random(count)
    said = [_ids(draw) for _ in range(count)]
    return [Pair(*(_window([one, _ids(draw)]) for _ in range(2))) for one in said]


def _ids(draw: random.Random) -> list[int]:
    return [draw.randrange(100, 40_000) for _ in range(draw.randint(2, 6))]


def _window(parts: list[list[int]]) -> Window:
    said, answer = parts
    return Window("p", 1, said + answer, [IGNORED] * len(said) + answer)


@pytest.fixture(scope="module")
def job_of(
    tiny: Base, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Job]:
    folder = tmp_path_factory.mktemp("trainings")
    train, held_out = _windows(5), _windows(2)

    def made(backend: str, name: str, **more: Any) -> Job:
        settings = {
            "load_4bit": False,
            "accumulation": 1,
            "max_steps": STEPS,
            "checkpoint_steps": KILLED[0],
        }
        own = recipe.model_copy(update={**settings, "backend": backend, **RECIPES[name], **more})
        measured, pairs = {"train": train[:2], "held_out": held_out}, _pairs(5)
        work = folder / f"{backend}-{name}-{own.seed}"
        return Job(own, tiny, train, measured, work, 1, pairs if "orpo" in name else [], say=print)

    return made


@pytest.fixture(scope="module")
def theirs(job_of: Callable[[str, str], Job], tmp_path_factory: pytest.TempPathFactory) -> Found:
    """All trainings by the real Unsloth, in one process: half a minute passes until it is there."""
    needs("unsloth", PYTHON.exists())
    folder = tmp_path_factory.mktemp("unsloth")
    jobs = {name: (job_of("unsloth", name), list[int]()) for name in RECIPES}
    again = jobs["padded"][0]
    jobs["killed"] = replace(again, work=again.work.with_name("killed")), KILLED
    (folder / "jobs").write_bytes(pickle.dumps(jobs))
    command = [
        PYTHON,
        "-m",
        "tests.training.backend.unsloth_cpu",
        folder / "jobs",
        folder / "found",
    ]
    made = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-4000:]
    found: Found = pickle.loads((folder / "found").read_bytes())  # noqa: S301
    return found


def _ours(job: Job) -> tuple[Trained, Batches]:
    with fed(trl_backend) as batches:
        return open_backend("trl").train(job, Nowhere(), lambda _step: None), batches


def _adapter(trained: Trained) -> dict[str, Any]:
    from safetensors.torch import load_file

    weights: dict[str, Any] = load_file(trained.adapter / "adapter_model.safetensors")
    return weights


def _apart(one: Trained, other: Trained) -> list[float]:
    """The difference of each weight of the adapters, as a share of it."""
    ours, theirs = _adapter(one), _adapter(other)
    assert ours.keys() == theirs.keys()
    return [float((theirs[name] - weight).norm() / weight.norm()) for name, weight in ours.items()]


def _numbers(found: Any, at: str = "") -> dict[str, float]:
    """All of what was measured by where it stands."""
    if isinstance(found, dict | list):
        within = found.items() if isinstance(found, dict) else enumerate(found)
        return {k: v for key, one in within for k, v in _numbers(one, f"{at}.{key}").items()}
    return {at: found} if isinstance(found, int | float) else {}


def _rows(batches: Batches) -> list[list[list[int]]]:
    return [batch["input_ids"] for batch in batches]


@pytest.mark.unsloth
@pytest.mark.parametrize("name", RECIPES)
def test_a_training_is_the_one_of_trl(
    theirs: Found, job_of: Callable[[str, str], Job], name: str
) -> None:
    """In steps, in losses of windows that are held out, in how it takes to pairs, in its adapter:
    to the rounding of fp32.
    """
    ours, our_batches = _ours(job_of("trl", name))
    trained, batches, kernels = theirs[name]
    assert kernels >= KERNELS
    assert _rows(batches) == _rows(our_batches)
    assert all(len(rows) == 1 for rows in _rows(batches)) == (name in {"single"} | ONE_ROWED)
    assert all(("packed_seq_lengths" in batch) == (name in ONE_ROWED) for batch in batches)
    measured, expected = (_numbers(lasting(one)) for one in (trained, ours))
    assert measured == pytest.approx(expected, abs=5e-6)
    assert max(_apart(ours, trained)) < 1e-4


@pytest.mark.unsloth
def test_what_was_killed_continues_to_the_same_bits(theirs: Found) -> None:
    whole, killed = theirs["padded"].trained, theirs["killed"].trained
    assert killed.metrics["resumed_from"] == KILLED[0]
    assert weights(killed) == weights(whole)
    assert lasting(killed) == lasting(whole)


def test_another_seed_is_further_apart_by_orders(job_of: Callable[..., Job]) -> None:
    one, other = (_ours(job_of("trl", "padded", seed=seed)) for seed in (42, 7))
    assert _rows(one[1]) != _rows(other[1])
    assert min(_apart(one[0], other[0])) > 1


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is asked of Unsloth, where it would load in 4 bit."""
    asked: dict[str, Any] = {}

    class FastLanguageModel:
        @staticmethod
        def from_pretrained(folder: str, **settings: Any) -> tuple[Any, None]:
            asked["load"] = {"folder": folder, **settings}
            plain = Recipe.model_construct(start="", compare="", licence="", load_4bit=False)
            return trl_backend.load_model(Path(folder), plain), None

        @staticmethod
        def get_peft_model(model: Any, **settings: Any) -> Any:
            asked["adapt"] = settings
            return model

    stand_in = ModuleType("unsloth")
    stand_in.__spec__ = ModuleSpec("unsloth", None)
    vars(stand_in)["FastLanguageModel"] = FastLanguageModel
    monkeypatch.setitem(sys.modules, "unsloth", stand_in)
    return asked


def test_what_is_asked_of_unsloth(
    job_of: Callable[..., Job], asked: dict[str, Any], tiny: Base, recipe: Recipe
) -> None:
    unsloth_backend.adapted_model(job_of("unsloth", "padded", load_4bit=True))
    assert asked["load"] == {
        "folder": str(tiny.folder),
        "max_seq_length": recipe.max_length,
        "load_in_4bit": True,
        "dtype": trl_backend.compute_type(),
    }
    assert asked["adapt"] == {
        "use_gradient_checkpointing": "unsloth",
        "random_state": recipe.seed,
        **{
            "r": 4,
            "lora_alpha": 8,
            "lora_dropout": 0.1,
            "target_modules": list(recipe.lora.targets),
        },
    }


def test_the_first_weights_are_the_seeds_and_not_the_librarys(tiny: Base, recipe: Recipe) -> None:
    """Whatever random numbers were drawn before: A as PEFT draws it, B zero, in fp32."""
    import torch
    from peft import LoraConfig, get_peft_model

    from cbt_ray.training.backend.adapter import begin, exact, lora_settings

    made = []
    for _ in range(2):  # torch's own generator has moved on the second time
        model = trl_backend.load_model(tiny.folder, recipe.model_copy(update={"load_4bit": False}))
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora_settings(recipe)))
        peft = exact(adapted)
        begin(adapted, recipe.seed)
        made.append(exact(adapted))
        for name, one in exact(adapted).items():
            assert one.dtype == torch.float32
            assert one.std() == pytest.approx(float(peft[name].std()), rel=0.25)
    assert all(torch.equal(one, made[1][name]) for name, one in made[0].items())
    begin(adapted, recipe.seed + 1)
    assert any(not torch.equal(one, made[0][name]) for name, one in exact(adapted).items())


@pytest.mark.parametrize(
    ("devices", "package", "lacking"),
    [
        ((), None, "a CUDA GPU and the package unsloth"),
        ((), "", "a CUDA GPU"),
        (("/dev/null",), None, "the package unsloth"),
    ],
)
def test_what_is_lacking_is_named(
    monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...], package: str | None, lacking: str
) -> None:
    monkeypatch.setattr(environment, "GPU", devices)
    monkeypatch.setattr(environment, "find_spec", lambda _name: package)
    with pytest.raises(
        InputError, match=f"backend unsloth: expected {lacking}; use `backend: trl`"
    ):
        open_backend("unsloth")
