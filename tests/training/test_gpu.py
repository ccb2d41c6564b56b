"""The run for a GPU, rehearsed on a CPU in a tiny shape, and each of its branches by stand-ins for
what a part prints.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cbt_ray.training.backend import trl_backend
from cbt_ray.training.backend.job import Job
from cbt_ray.training.start.base import Base
from tests.needs import needs
from tests.training.gpu import parts, serving
from tests.training.gpu import run as carrying
from tests.training.gpu.run import PARTS, Part, Run, carried_out
from tests.training.gpu.size import INTERPRETED, LARGE, PAIRED_STEPS, SMALL, STEPS, recipe_of
from tests.training.gpu.table import DOCUMENT, FILE, conclusions, rewritten, table

PYTHON = Path(__file__).parents[2] / ".unsloth" / "bin" / "python"
REHEARSED = ("trl", "trl-orpo", "stock-trl", "kernels", "job", "unsloth", "vllm")


@pytest.mark.train
@pytest.mark.llama
def test_all_but_unsloth_is_measured_without_a_gpu(base: Base, tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    asked = [word for part in REHEARSED for word in ("--part", part)]
    command = [sys.executable, "-m", "tests.training.gpu", "--small", *asked]
    command += ["--base", str(base.folder), "--out", str(out)]
    subprocess.run(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, check=True)
    run = json.loads(out.read_text())
    found, absent = run["parts"], set(run["left_out"])
    assert absent == {name for name in ("unsloth", "vllm") if find_spec(name) is None}
    assert found["model"]["parameters"] > 6e6
    assert len(found["trl"]["losses"]) == STEPS
    assert len(found["trl"]["held_out"]) == 2
    assert len(found["trl-orpo"]["losses"]) == PAIRED_STEPS
    assert found["trl-orpo"]["pairs"]["trained"]["pairs"] == 2
    assert 1 < found["stock-trl"]["rows"] < 2 * STEPS
    assert found["kernels"].keys() >= {"four_bit", "attention"}, "compared with themselves here"
    checks = found["job"]["checks"]
    assert all(
        passed is not False for name, passed in checks.items() if name not in ("stops", "greedy")
    )
    assert found["job"]["gguf_bytes"] > 3e6
    assert run["conclusions"]["trl_over_stock"] > 0
    assert run["seconds"] < 60 * run["minutes"]
    with pytest.raises(ValueError, match="found a rehearsal"):
        list(table(run))


@pytest.mark.train
@pytest.mark.unsloth
def test_unsloths_parts_run_with_the_real_one(base: Base, tmp_path: Path) -> None:
    needs("unsloth", PYTHON.exists())
    command = [PYTHON, "-m", "tests.training.gpu.interpreted", tmp_path, base.folder]
    command += ["unsloth", "stock-unsloth"]
    made = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(PYTHON.parents[2])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-4000:]
    lines = [json.loads(line) for line in made.stdout.splitlines() if line.startswith('{"part"')]
    found = {one["part"]: one for one in lines}
    assert len(found["unsloth"]["losses"]) == INTERPRETED.steps
    assert len(found["unsloth"]["held_out"]) == 2
    assert conclusions(found)["unsloth_over_stock"] > 0


@pytest.mark.train
def test_the_losses_of_both_backends_are_the_same_to_rounding(tmp_path: Path) -> None:
    """On a GPU, with the real package, each in a process of its own: Unsloth rewrites the classes
    that the other would use.
    """
    import torch

    needs("cuda", torch.cuda.is_available())
    needs("unsloth", find_spec("unsloth") is not None)
    command = [sys.executable, "-m", "tests.training.gpu", "--small"]
    parts = ["--part", "trl", "--part", "unsloth"]
    subprocess.run([*command, "--out", tmp_path / "found", *parts], check=True)
    found = json.loads((tmp_path / "found").read_text())["parts"]
    assert len(found["trl"]["losses"]) == STEPS
    assert found["unsloth"]["losses"] == pytest.approx(found["trl"]["losses"], rel=0.02)


def test_a_part_is_what_its_name_says() -> None:
    recipes = {one.name: recipe_of(LARGE, one.name, Path("model")) for one in PARTS}
    assert {name for name, one in recipes.items() if one.backend == "unsloth"} == {
        name for name in recipes if "unsloth" in name
    }
    assert {n for n, one in recipes.items() if one.method == "orpo"} == {"trl-orpo", "unsloth-orpo"}
    padded = {name for name, one in recipes.items() if one.batching == "padded"}
    assert padded == {"trl-padded", "unsloth-padded"}
    assert sum(one.least for one in PARTS) < 60 * 12, "each may have its turn"
    assert 7e9 < LARGE.shape.parameters() < 8e9
    assert LARGE.short.parameters() < 3e9 < LARGE.shape.parameters()


def _run(tmp_path: Path, said: dict[str, str], **more: Any) -> Run:
    """Parts are little programs of a shell, which begin at once."""
    return Run(lambda part: ["sh", "-c", said[part]], tmp_path / "gpu.json", {"size": {}}, **more)


def _says(**found: Any) -> str:
    return f"echo '{json.dumps({'part': 'x', **found})}'; "


def test_what_fails_hangs_or_says_nothing_stops_nothing_else(tmp_path: Path) -> None:
    said = {
        "model": _says(parameters=7) + "echo more words",
        "fails": "echo out of memory >&2; exit 1",
        "fails late": _says(losses=[2.0]) + "echo no >&2; exit 3",
        "hangs": _says(losses=[3.0, 2.0]) + """echo '{"part": "x", "los'; sleep 600""",
        "leaves one": "sleep 600 & sleep 600",
        "is silent": "",
        "last": _says(losses=[1.0]),
    }
    run = _run(tmp_path, said)
    limits = {"hangs": 5, "leaves one": 1}
    run.carry_out([Part(name, limits.get(name, 60), 0, behind=()) for name in said])
    written = json.loads(run.out.read_text())
    assert written["parts"] == {
        "model": {"parameters": 7},
        "fails late": {"losses": [2.0], "unfinished": "ended with 3: no"},
        "hangs": {"losses": [3.0, 2.0], "unfinished": "ended after its limit of 5 s"},
        "last": {"losses": [1.0]},
    }
    assert written["left_out"] == {
        "fails": "ended with 1: out of memory",
        "leaves one": "ended after its limit of 1 s",
        "is silent": "it said nothing",
    }


def test_it_ends_in_time_with_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which the first two parts take five minutes each."""
    times: Iterator[float] = iter([0.0, 0, 300, 300, 600, 600, 700, 700, 710])
    limits: list[float] = []

    def ended(_command: Any, limit: float) -> tuple[list[str], None]:
        limits.append(limit)
        return ['{"part": "x", "losses": [1.0]}'], None

    monkeypatch.setattr(carrying, "carried_out", ended)
    run = _run(tmp_path, dict.fromkeys("abcd", ""), minutes=12, now=lambda: next(times))
    run.carry_out([Part(name, 200, 60, behind=()) for name in "abcd"])
    assert limits == [200, 200, 120]
    assert run.left_out == {"d": "20 s are left, and it takes 60 or more"}
    assert json.loads(run.out.read_text())["seconds"] == 710


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    run = _run(tmp_path, {"model": "exit 1"}, has=lambda name: name != "unsloth")
    run.carry_out([one for one in PARTS if one.name in ("model", "trl", "unsloth")])
    assert run.left_out["unsloth"] == "unsloth is not installed here"
    assert run.left_out["trl"] == "it goes on from model"


def test_a_large_output_is_no_reason_to_hang() -> None:
    lines, ended = carried_out([sys.executable, "-c", "print('x\\n' * 10**6)"], 60)
    assert (len(lines), ended) == (10**6 + 1, None)


FOUND: dict[str, dict[str, Any]] = {
    "model": {"parameters": 7_000_000_000},
    "trl": {"supervised_per_second": 19.0, "losses": [2.0, 1.0], "peak_gib": 20.5},
    "stock-trl": {"supervised_per_second": 20.0, "losses": [2.0]},
    "unsloth": {"supervised_per_second": 30.0, "losses": [2.0, 1.125], "peak_gib": 12.0},
    "stock-unsloth": {"supervised_per_second": 30.0, "losses": [2.0], "unfinished": "killed"},
    "kernels": {"attention": {"kernel": True}},
}
CONCLUDED = {
    "trl_over_stock": 0.95,
    "unsloth_over_stock": 1.0,
    "losses_apart:trl:unsloth": 0.125,
    "as_fast": True,
    "fits_24_gib": True,
}


def test_conclusions() -> None:
    assert conclusions(FOUND) == CONCLUDED
    slow = {**FOUND, "unsloth": {**FOUND["unsloth"], "supervised_per_second": 28.0}}
    slow["trl"] = {**slow["trl"], "peak_gib": 24.5}
    assert not conclusions(slow)["as_fast"]
    assert not conclusions(slow)["fits_24_gib"]
    assert conclusions({}) == {}


def test_the_table_has_what_was_found_and_what_was_not() -> None:
    run = {
        "machine": {"gpu": "A GPU", "device_gib": 80.0, "versions": {"torch": "2.13"}},
        "size": {"parameters": 7e9, "length": 8192, "small": False},
        "seconds": 660,
        "parts": FOUND,
        "left_out": {"vllm": "vllm is not installed here"},
        "conclusions": CONCLUDED,
    }
    lines = list(table(run))
    assert "| trl | 19.0 | - | - | 20.5 | 2.0000 | 1.0000 |" in lines
    assert "| stock-unsloth (unfinished) | 30.0 | - | - | - | 2.0000 | 2.0000 |" in lines
    assert '- kernels: `{"attention": {"kernel": true}}`' in lines
    assert "- vllm: not measured, vllm is not installed here." in lines
    assert "- `as_fast`: true" in lines
    text = DOCUMENT.read_text()
    assert rewritten(rewritten(text, run), None) == rewritten(text, None)
    assert "A GPU (80 GiB)" in rewritten(text, run)


def test_the_document_has_the_figures_of_the_file_or_none() -> None:
    run = json.loads(FILE.read_text()) if FILE.exists() else None
    assert DOCUMENT.read_text() == rewritten(DOCUMENT.read_text(), run)


@pytest.fixture
def vllm(tiny: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package: it says what transformers says."""

    class Server:
        def __init__(self, base: str, **settings: Any) -> None:
            assert settings["enable_lora"]
            self.base = Path(base)

        def generate(self, prompts: Any, _sampling: Any, lora_request: Any) -> Any:
            model = serving._model(self.base, lora_request)
            return [
                SimpleNamespace(
                    outputs=[SimpleNamespace(token_ids=_greedy(model, one["prompt_token_ids"]))]
                )
                for one in prompts
            ]

    made, request = ModuleType("vllm"), ModuleType("vllm.lora.request")
    made.LLM, made.SamplingParams = Server, lambda **_more: None  # type: ignore[attr-defined]
    request.LoRARequest = lambda _name, _number, path: Path(path)  # type: ignore[attr-defined]
    for name, module in {
        "vllm": made,
        "vllm.lora": ModuleType("lora"),
        request.__name__: request,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)


def _greedy(model: Any, prompt: list[int]) -> list[int]:
    import torch

    ids = list(prompt)
    with torch.no_grad():
        for _ in range(4):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.train
def test_vllm_is_compared_with_transformers(tiny: Base, tmp_path: Path, vllm: None) -> None:
    import torch

    recipe = recipe_of(SMALL, "trl", tiny.folder).model_copy(update={"load_4bit": False})
    job = Job(recipe, tiny, [], {}, tmp_path, 1)
    model = trl_backend.adapted_model(job)
    for name, one in model.named_parameters():
        if "lora_B" in name:
            one.data = torch.randn(one.shape, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(tmp_path / "trl" / "adapter")
    found = parts.served("vllm", SMALL, tiny, tmp_path / "vllm", lambda _found: None)
    assert found["base"]["likeliest"] == found["adapter"]["likeliest"] == 1
    assert not found["same_answers"]
